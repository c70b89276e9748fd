// Package api is the edge's JSON API, for the commands, the screen and
// scripts.
//
// All routes stand in one table (routes.go), with who may call them; the
// OpenAPI document is made from it, and a test holds a row of who gets what for
// each. A key is taken from the Authorization header and from nowhere else. What
// belongs to another user does not exist: the answer is 404.
package api
