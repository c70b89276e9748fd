// Sends signed deliveries, each made and signed by its sender's own library:
// every payload of @octokit/webhooks-examples, Stripe events, Standard Webhooks.
// Slack and Shopify publish only what verifies: theirs are signed as they document.
//
//   node send.mjs --url http://127.0.0.1:8080/hooks [--host shop.localhost]
//                 [--kind github|stripe|slack|shopify|standard|all] [--skip N] [--limit N] [--parallel N] [--tamper 1]
//
// --skip and --limit count for each kind. Secrets come from GITHUB_SECRET,
// STRIPE_SECRET, SLACK_SECRET, SHOPIFY_SECRET and STANDARD_SECRET. --tamper
// changes a byte after signing: nothing may then verify. Prints for each delivery
//   {"kind", "event", "id", "status", "sha256", "size", "answer"}   or  {"kind", "event", "id", "error"}
// and at the end {"done": true, "sent", "verified"}, where verified counts the answers 200.
import { createHash, createHmac, randomUUID } from "node:crypto";
import { createRequire } from "node:module";
import http from "node:http";
import { sign } from "@octokit/webhooks-methods";
import { Webhook } from "standardwebhooks";
import Stripe from "stripe";
import { post } from "./dial.mjs";
import { flags, say } from "./lines.mjs";

const f = flags({ url: "", host: "", kind: "all", skip: "0", limit: "0", parallel: "4", tamper: "" });
const { GITHUB_SECRET, STRIPE_SECRET, SLACK_SECRET, SHOPIFY_SECRET, STANDARD_SECRET } = process.env;

async function* github() {
  const all = createRequire(import.meta.url)("@octokit/webhooks-examples");
  for (const { name, examples } of all) {
    for (const payload of examples) {
      const body = JSON.stringify(payload);
      const id = randomUUID();
      yield {
        kind: "github", event: name, id, body,
        headers: {
          "Accept": "*/*",
          "Content-Type": "application/json",
          "User-Agent": "GitHub-Hookshot/e2e0001",
          "X-GitHub-Delivery": id,
          "X-GitHub-Event": name,
          "X-GitHub-Hook-ID": "292430182",
          "X-GitHub-Hook-Installation-Target-ID": "79929171",
          "X-GitHub-Hook-Installation-Target-Type": "repository",
          "X-Hub-Signature-256": await sign(GITHUB_SECRET, body),
        },
      };
    }
  }
}

async function* stripe() {
  const types = ["payment_intent.succeeded", "invoice.paid", "charge.refunded", "customer.subscription.updated", "checkout.session.completed"];
  for (const [i, type] of types.entries()) {
    const id = `evt_1LrokE2E${i}`;
    const event = {
      id, object: "event", api_version: "2024-06-20", created: 1700000000 + i, livemode: false, pending_webhooks: 1, type,
      request: { id: `req_${i}`, idempotency_key: randomUUID() },
      data: { object: { id: `obj_${i}`, amount: 1999 + i, currency: "eur", description: "Grüße aus Zürich — 50 % ☕", metadata: { order: `${i}`, note: "line one\nline \"two\"" } } },
    };
    const body = JSON.stringify(event, null, 2); // Stripe signs indented JSON: white space must survive
    yield {
      kind: "stripe", event: type, id, body,
      headers: {
        "Cache-Control": "no-cache",
        "Content-Type": "application/json; charset=utf-8",
        "Stripe-Signature": Stripe.webhooks.generateTestHeaderString({ payload: body, secret: STRIPE_SECRET }),
        "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
      },
    };
  }
}

async function* standard() {
  const hook = new Webhook(STANDARD_SECRET);
  for (const [i, type] of ["contact.created", "contact.updated", "invoice.sent", "user.deleted"].entries()) {
    const id = `msg_e2e${i}`;
    const now = new Date();
    const body = JSON.stringify({ type, timestamp: now.toISOString(), data: { id: i, name: "Łukasz 😀", tags: ["a", "b"] } });
    yield {
      kind: "standard", event: type, id, body,
      headers: {
        "content-type": "application/json",
        "webhook-id": id,
        "webhook-timestamp": `${Math.floor(now.getTime() / 1000)}`,
        "webhook-signature": hook.sign(id, now, body),
      },
    };
  }
}

async function* slack() {
  for (const [i, type] of ["app_mention", "message", "reaction_added"].entries()) {
    const id = `Ev0E2E${i}`;
    const body = JSON.stringify({ type: "event_callback", team_id: "T0E2E", event_id: id, event: { type, user: "U1", text: "<@U2> Grüße \u2615 & more" } });
    const time = `${Math.floor(Date.now() / 1000)}`;
    yield {
      kind: "slack", event: type, id, body,
      headers: {
        "Content-Type": "application/json",
        "User-Agent": "Slackbot 1.0 (+https://api.slack.com/robots)",
        "X-Slack-Request-Timestamp": time,
        "X-Slack-Signature": "v0=" + createHmac("sha256", SLACK_SECRET).update(`v0:${time}:${body}`).digest("hex"),
      },
    };
  }
}

async function* shopify() {
  for (const [i, topic] of ["orders/create", "orders/paid", "app/uninstalled"].entries()) {
    const id = randomUUID();
    const body = JSON.stringify({ id: 820982911946154500 + i, email: "jon@example.com", note: "Grüße 😀", total_price: "403.00" });
    yield {
      kind: "shopify", event: topic, id, body,
      headers: {
        "Content-Type": "application/json",
        "User-Agent": "Shopify-Captain-Hook",
        "X-Shopify-API-Version": "2025-04",
        "X-Shopify-Hmac-Sha256": createHmac("sha256", SHOPIFY_SECRET).update(body).digest("base64"),
        "X-Shopify-Shop-Domain": "e2e.myshopify.com",
        "X-Shopify-Topic": topic,
        "X-Shopify-Webhook-Id": id,
      },
    };
  }
}

const makers = { github: [github], stripe: [stripe], slack: [slack], shopify: [shopify], standard: [standard], all: [github, stripe, slack, shopify, standard] };
if (!f.url || !makers[f.kind]) {
  process.stderr.write("usage: send.mjs --url URL [--host HOST] [--kind github|stripe|slack|shopify|standard|all]\n");
  process.exit(2);
}

async function* deliveries() {
  for (const make of makers[f.kind]) {
    let n = 0;
    for await (const d of make()) {
      if (n++ < +f.skip) continue;
      if (+f.limit && n > +f.skip + +f.limit) break;
      yield d;
    }
  }
}

const agent = new http.Agent({ keepAlive: true, maxSockets: +f.parallel });
const source = deliveries();
let sent = 0, verified = 0;

async function worker() {
  for (;;) {
    const { value: d, done } = await source.next();
    if (done) return;
    const { kind, event, id } = d;
    const body = Buffer.from(d.body);
    if (f.tamper) body[body.length - 2] ^= 1;
    sent++;
    try {
      const { status, body: answer } = await post(f.url, f.host, d.headers, body, agent);
      if (status === 200) verified++;
      say({ kind, event, id, status, sha256: createHash("sha256").update(body).digest("hex"), size: body.length, answer });
    } catch (err) {
      say({ kind, event, id, error: err.message });
    }
  }
}

await Promise.all(Array.from({ length: +f.parallel }, worker));
agent.destroy();
say({ done: true, sent, verified });
