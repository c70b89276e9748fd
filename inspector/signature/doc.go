// Package signature says whether a captured webhook carries the signature that
// its sender's secret makes, why not, and signs a request anew.
//
// It is pure: secrets are handed to it, nothing is read and nothing is sent. The
// senders' schemes differ in little: which header holds the signature, which
// bytes are signed, how the digest is written. So each is a [Scheme], and one
// that is not known here is described by its user.
//
//	stripe    Stripe-Signature: t=TIME,v1=HEX     over TIME.BODY
//	github    X-Hub-Signature-256: sha256=HEX     over BODY
//	slack     X-Slack-Signature: v0=HEX           over v0:TIME:BODY
//	shopify   X-Shopify-Hmac-Sha256: BASE64       over BODY
//	standard  webhook-signature: v1,BASE64        over ID.TIME.BODY
//
// A digest that does not fit has many reasons and tells none. What can be told
// apart is found by trying: the secret in other encodings, the body as common
// middleware rewrites it, the secrets of other senders.
package signature
