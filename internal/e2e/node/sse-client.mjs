// An EventSource (npm eventsource) on sse-server.mjs.
//
//   node sse-client.mjs --url http://127.0.0.1:8080/events?n=10 [--host shop.localhost] [--events 10]
//
// Prints {"opened": TIMES} at each (re)connection, {"id", "n", "text", "delay"} for
// each event (delay in milliseconds from the server's write), then
// {"done": true, "events", "opened"} once --events have arrived, and leaves.
// Exits 1 when an event is out of turn or nothing arrives for 20 s.
import { Readable } from "node:stream";
import { EventSource } from "eventsource";
import { dial } from "./dial.mjs";
import { flags, say } from "./lines.mjs";

const f = flags({ url: "", host: "", events: "10" });

// The global fetch does not let the Host header be chosen.
function fetchAs(url, { headers, signal }) {
  return new Promise((resolve, reject) => {
    const r = dial(url, f.host, { headers, signal });
    r.on("error", reject);
    r.on("response", (answer) => {
      const empty = answer.statusCode === 204;
      if (empty) answer.resume();
      resolve(new Response(empty ? null : Readable.toWeb(answer), { status: answer.statusCode, headers: answer.headers }));
    });
    r.end();
  });
}

let timer, opened = 0, events = 0;
function alive() {
  clearTimeout(timer);
  timer = setTimeout(() => fail("nothing for 20 s"), 20_000);
}
function fail(error) {
  say({ error, events, opened });
  process.exit(1);
}

alive();
const source = new EventSource(f.url, { fetch: fetchAs });
source.addEventListener("open", () => { alive(); say({ opened: ++opened }); });
source.addEventListener("error", (e) => {
  if (source.readyState === source.CLOSED) fail(`closed: ${e.code ?? ""} ${e.message ?? ""}`);
});
source.addEventListener("tick", (e) => {
  alive();
  const { n, text, at } = JSON.parse(e.data);
  events++;
  if (n !== events || +e.lastEventId !== n) fail(`event ${n} with id ${e.lastEventId} in place of ${events}`);
  say({ id: e.lastEventId, n, text, delay: Date.now() - at });
  if (events >= +f.events) {
    say({ done: true, events, opened });
    source.close();
    process.exit(0);
  }
});
