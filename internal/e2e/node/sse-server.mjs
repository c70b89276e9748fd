// A server-sent event stream. GET /events?n=N&ms=M&drop=D sends events 1..N, M
// milliseconds apart, going on after Last-Event-ID; after every D events it cuts
// the connection, so that the client has to come back. n=0 never ends. Events are
// of type "tick", have data of two lines, and a comment between them.
//
// Prints {"port"}, {"opened": TARGET, "lastEventId", "host"} and {"left": LAST_ID_SENT}
// when the client has gone before the end.
import http from "node:http";
import { say, serve } from "./lines.mjs";

const server = http.createServer((request, response) => {
  const q = new URL(request.url, "http://x").searchParams;
  const n = +(q.get("n") ?? 10), ms = +(q.get("ms") ?? 5), drop = +(q.get("drop") ?? 0);
  const lastEventId = request.headers["last-event-id"];
  let id = +(lastEventId ?? 0), sent = 0;
  say({ opened: request.url, lastEventId, host: request.headers.host });
  if (n && id >= n) {
    response.writeHead(204).end(); // tells an EventSource to stop
    return;
  }
  response.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-store" });
  response.write("retry: 20\n\n");
  const timer = setInterval(() => {
    id++;
    sent++;
    response.write(`: a comment\nid: ${id}\nevent: tick\ndata: {"n": ${id},\ndata:  "text": "Grüße 😀", "at": ${Date.now()}}\n\n`);
    if (n && id >= n) {
      clearInterval(timer);
      response.end();
    } else if (drop && sent >= drop) {
      clearInterval(timer);
      response.socket.end();
    }
  }, ms);
  response.on("close", () => {
    clearInterval(timer);
    if (!response.writableEnded) say({ left: id });
  });
});
await serve(server);
