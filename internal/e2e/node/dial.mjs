// HTTP to one address with the Host header of another: public names need no DNS here.
import http from "node:http";

// dial connects to the address in url and asks for host (default: the address).
export function dial(url, host, options = {}) {
  const headers = host ? { Host: host, ...options.headers } : options.headers;
  return http.request(url, { ...options, headers });
}

export function post(url, host, headers, body, agent) {
  return new Promise((resolve, reject) => {
    const r = dial(url, host, { method: "POST", agent, headers: { ...headers, "Content-Length": body.length } });
    r.on("error", reject);
    r.on("response", (answer) => {
      const parts = [];
      answer.on("data", (p) => parts.push(p));
      answer.on("error", reject);
      answer.on("end", () => resolve({ status: answer.statusCode, body: Buffer.concat(parts).toString() }));
    });
    r.end(body);
  });
}
