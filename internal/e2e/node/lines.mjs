// The line protocol that every script here speaks: one JSON object a line on
// standard output, nothing else. A script that serves prints {"port": N} first
// and ends when its standard input ends, so that it never outlives its test.
import { once } from "node:events";

export function say(object) {
  process.stdout.write(JSON.stringify(object) + "\n");
}

export async function serve(server) {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  process.stdin.on("end", () => process.exit(0));
  process.stdin.resume();
  say({ port: server.address().port });
}

// flags turns ["--url", "http://...", "--limit", "3"] into an object, on top of defaults.
export function flags(defaults) {
  const out = { ...defaults };
  const args = process.argv.slice(2);
  for (let i = 0; i < args.length; i += 2) {
    const name = args[i].replace(/^--/, "");
    if (!(name in defaults) || args[i + 1] === undefined) {
      process.stderr.write(`unknown flag or no value: ${args[i]}\n`);
      process.exit(2);
    }
    out[name] = args[i + 1];
  }
  return out;
}
