// Package api is the edge's JSON API, for the commands, the screen and
// scripts.
//
// All routes stand in one table (routes.go), with who may call them, what they
// take and what they answer; the OpenAPI document is made from it, and tests hold
// a row of who gets what for each, and each answer against the document. A key
// is taken from the Authorization header and from nowhere else; one that is
// revoked or expires ends the calls that still last. What belongs to another
// user does not exist: the answer is 404. Administrators see what there is, and
// never what passed through it: captures are their owner's alone.
//
// What is not known is refused, in a body and in a query, with the name that was
// most likely meant. Every refusal is a problem document.
package api
