// A WebSocket server (npm ws) that sends every message back as it came. The text
// "close:CODE:REASON" makes it close with that code, "ping" makes it ping the
// client and say "pong" once the pong is there. Of the subprotocols offered it
// takes "lrok.v2". permessage-deflate is accepted when the client offers it.
//
// Prints {"port"}, {"connected": PATH, "host", "protocol"} and {"closed": CODE, "reason"}.
import http from "node:http";
import { WebSocketServer } from "ws";
import { say, serve } from "./lines.mjs";

const server = http.createServer((_, response) => response.writeHead(426).end("WebSocket only\n"));
const sockets = new WebSocketServer({
  server,
  perMessageDeflate: { threshold: 0 },
  handleProtocols: (offered) => (offered.has("lrok.v2") ? "lrok.v2" : false),
});
sockets.on("connection", (ws, request) => {
  say({ connected: request.url, host: request.headers.host, protocol: ws.protocol });
  ws.on("message", (data, binary) => {
    const text = binary ? "" : data.toString();
    if (text.startsWith("close:")) {
      const [, code, reason] = text.split(":");
      ws.close(+code, reason);
    } else if (text === "ping") {
      ws.once("pong", (payload) => ws.send(`pong ${payload}`));
      ws.ping("from the server");
    } else {
      ws.send(data, { binary });
    }
  });
  ws.on("error", (err) => say({ error: err.message }));
  ws.on("close", (code, reason) => say({ closed: code, reason: reason.toString() }));
});
await serve(server);
