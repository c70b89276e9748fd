// A WebSocket client (npm ws) that puts ws-echo.mjs through its paces.
//
//   node ws-client.mjs --url ws://127.0.0.1:8080/chat?room=1 [--host shop.localhost] [--deflate 1]
//
// Prints {"check": NAME, "ok": true} or {"check": NAME, "ok": false, "error"} for
// each check, then {"done": true, "checks", "passed"}; exits 1 when one failed.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import WebSocket from "ws";
import { flags, say } from "./lines.mjs";

const f = flags({ url: "", host: "", deflate: "" });

async function open(protocols = []) {
  const ws = new WebSocket(f.url, protocols, { headers: f.host ? { Host: f.host } : {}, perMessageDeflate: !!f.deflate });
  ws.inbox = [];
  ws.on("message", (data, binary) => { ws.inbox.push({ data, binary }); ws.emit("inbox"); });
  await once(ws, "open");
  return ws;
}

async function next(ws) {
  while (ws.inbox.length === 0) await once(ws, "inbox");
  return ws.inbox.shift();
}

async function same(ws, data, binary) {
  ws.send(data);
  const got = await next(ws);
  assert.equal(got.binary, binary, "frame type");
  assert.ok(Buffer.from(data).equals(got.data), `${got.data.length} bytes came back, want the ${data.length} sent`);
}

const checks = {
  async subprotocol() {
    const ws = await open(["lrok.v1", "lrok.v2"]);
    assert.equal(ws.protocol, "lrok.v2");
    ws.terminate();
  },
  async extensions() {
    const ws = await open();
    assert.equal(ws.extensions.includes("permessage-deflate"), !!f.deflate, `extensions = ${ws.extensions}`);
    ws.terminate();
  },
  async text() {
    const ws = await open();
    await same(ws, "hello", false);
    await same(ws, "Grüße, Łukasz 😀", false);
    await same(ws, "", false);
    ws.terminate();
  },
  async binary() {
    const ws = await open();
    await same(ws, Buffer.from([0, 1, 0x7f, 0x80, 0xff, 0x0d, 0x0a]), true);
    await same(ws, randomBytes(126), true);
    await same(ws, randomBytes(65536), true);
    ws.terminate();
  },
  async "message of 1 MiB"() {
    const ws = await open();
    await same(ws, randomBytes(1 << 20), true);
    ws.terminate();
  },
  async fragments() {
    const ws = await open();
    ws.send("one ", { fin: false });
    ws.send("two ", { fin: false });
    ws.send("three", { fin: true });
    assert.equal((await next(ws)).data.toString(), "one two three");
    ws.terminate();
  },
  async "1000 messages in order"() {
    const ws = await open();
    for (let i = 0; i < 1000; i++) ws.send(`message ${i}`);
    for (let i = 0; i < 1000; i++) assert.equal((await next(ws)).data.toString(), `message ${i}`);
    ws.terminate();
  },
  async "ping from the client"() {
    const ws = await open();
    ws.ping("are you there");
    const [payload] = await once(ws, "pong");
    assert.equal(payload.toString(), "are you there");
    ws.terminate();
  },
  async "ping from the server"() {
    const ws = await open();
    ws.send("ping");
    assert.equal((await next(ws)).data.toString(), "pong from the server");
    ws.terminate();
  },
  async "close by the server"() {
    const ws = await open();
    ws.send("close:4002:the server had enough");
    const [code, reason] = await once(ws, "close");
    assert.deepEqual([code, reason.toString()], [4002, "the server had enough"]);
  },
  async "close by the client"() {
    const ws = await open();
    ws.close(4001, "the client had enough");
    const [code] = await once(ws, "close");
    assert.equal(code, 4001);
  },
};

let passed = 0;
for (const [check, run] of Object.entries(checks)) {
  let timer;
  const late = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error("nothing for 20 s")), 20_000); });
  try {
    await Promise.race([run(), late]);
    passed++;
    say({ check, ok: true });
  } catch (err) {
    say({ check, ok: false, error: err.message });
  }
  clearTimeout(timer);
}
const total = Object.keys(checks).length;
say({ done: true, checks: total, passed });
process.exit(passed === total ? 0 : 1);
