// A webhook receiver as its senders' own libraries would have it: every POST is
// verified by the header it carries, over the raw body. Secrets come from
// GITHUB_SECRET, STRIPE_SECRET, SLACK_SECRET, SHOPIFY_SECRET and STANDARD_SECRET. Answers 200 when the signature
// verifies, 401 when it does not, 400 when no known signature is there.
//
// Prints {"port"}, then for each delivery
//   {"kind": "github|stripe|slack|shopify|standard|unknown", "ok", "event", "id", "sha256", "size", "path", "headers", "error"}
// where headers is Node's rawHeaders: names and order as they came.
import { createHash } from "node:crypto";
import http from "node:http";
import { verify } from "@octokit/webhooks-methods";
import { shopifyApi, LATEST_API_VERSION } from "@shopify/shopify-api";
import "@shopify/shopify-api/adapters/node";
import bolt from "@slack/bolt";
import { Webhook } from "standardwebhooks";
import Stripe from "stripe";
import { say, serve } from "./lines.mjs";

const { GITHUB_SECRET, STRIPE_SECRET, SLACK_SECRET, SHOPIFY_SECRET, STANDARD_SECRET } = process.env;

const shopify = shopifyApi({
  apiKey: "key", apiSecretKey: SHOPIFY_SECRET, apiVersion: LATEST_API_VERSION, hostName: "shop.localhost", isEmbeddedApp: false,
  logger: { log() {} },
});

const kinds = {
  async github(body, h) {
    if (!(await verify(GITHUB_SECRET, body.toString(), h["x-hub-signature-256"]))) throw new Error("signature does not match");
    return { event: h["x-github-event"], id: h["x-github-delivery"] };
  },
  async stripe(body, h) {
    const e = Stripe.webhooks.constructEvent(body, h["stripe-signature"], STRIPE_SECRET);
    return { event: e.type, id: e.id };
  },
  async slack(body, h) {
    bolt.verifySlackRequest({ signingSecret: SLACK_SECRET, body: body.toString(), headers: { "x-slack-signature": h["x-slack-signature"], "x-slack-request-timestamp": Number(h["x-slack-request-timestamp"]) } });
    const e = JSON.parse(body);
    return { event: e.event?.type, id: e.event_id };
  },
  async shopify(body, h, request, response) {
    const checked = await shopify.webhooks.validate({ rawBody: body.toString(), rawRequest: request, rawResponse: response });
    if (!checked.valid) throw new Error(checked.reason);
    return { event: h["x-shopify-topic"], id: h["x-shopify-webhook-id"] };
  },
  async standard(body, h) {
    return { event: new Webhook(STANDARD_SECRET).verify(body.toString(), h).type, id: h["webhook-id"] };
  },
  async unknown() {
    throw new Error("no signature header");
  },
};

function kindOf(h) {
  if (h["x-hub-signature-256"]) return "github";
  if (h["stripe-signature"]) return "stripe";
  if (h["x-slack-signature"]) return "slack";
  if (h["x-shopify-hmac-sha256"]) return "shopify";
  if (h["webhook-signature"]) return "standard";
  return "unknown";
}

const server = http.createServer((request, response) => {
  const parts = [];
  request.on("data", (p) => parts.push(p));
  request.on("end", async () => {
    const body = Buffer.concat(parts);
    const kind = kindOf(request.headers);
    const seen = { kind, ok: true, sha256: createHash("sha256").update(body).digest("hex"), size: body.length, path: request.url, headers: request.rawHeaders };
    try {
      Object.assign(seen, await kinds[kind](body, request.headers, request, response));
    } catch (err) {
      Object.assign(seen, { ok: false, error: err.message.split("\n")[0] });
    }
    say(seen);
    const answer = Buffer.from(JSON.stringify({ ok: seen.ok, kind, event: seen.event, id: seen.id, sha256: seen.sha256, error: seen.error }));
    response.writeHead(seen.ok ? 200 : kind === "unknown" ? 400 : 401, { "Content-Type": "application/json", "Content-Length": answer.length });
    response.end(answer);
  });
});
await serve(server);
