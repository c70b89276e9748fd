package tunnel

import "errors"

// An Error is what a person or a peer is told: a stable code, one plain
// sentence and the step that fixes it. Anything else stays inside the process.
type Error struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
	// Claim is which of the claims in a hello it is about, counted from 1; 0 for all
	// of them. Without that claim the others may be granted.
	Claim int `json:"claim,omitempty"`
}

// About is e with Claim set.
func (e *Error) About(claim int) *Error {
	if e == nil {
		return nil
	}
	one := *e
	one.Claim = claim
	return &one
}

func (e *Error) Error() string { return e.Message }

// Codes of errors in a Welcome, in the API's problem documents and in
// Lrok-Error-Code.
const (
	CodeKey         = "key_refused"
	CodeName        = "name_taken"
	CodeNameInvalid = "name_invalid"
	CodeLimit       = "limit_reached"
	CodeVersion     = "version_incompatible"
	CodeBadHello    = "bad_hello"
	CodeUnsupported = "unsupported"
	CodeSuperseded  = "superseded"
	CodeDraining    = "draining"
	CodeNotFound    = "not_found"
	CodeInternal    = "internal"
	// CodeForbidden is for a route that only administrators may call, CodeInvalid
	// for a request that makes no sense, CodeConflict for one that does not fit
	// what is there, CodeUnavailable for what the edge cannot do just now, such as
	// to write to its store.
	CodeForbidden   = "forbidden"
	CodeInvalid     = "invalid"
	CodeConflict    = "conflict"
	CodeUnavailable = "unavailable"
	CodeDomain      = "domain_not_verified"
	CodePort        = "port_taken"

	CodeTunnelNotFound  = "tunnel_not_found"
	CodeAgentOffline    = "agent_offline"
	CodeUpstreamRefused = "upstream_refused"
	CodeUpstreamTimeout = "upstream_timeout"
	CodeUpstreamAborted = "upstream_aborted"
	CodeUpstreamInvalid = "upstream_invalid"
	CodeClientAborted   = "client_aborted"
	CodeTooManyStreams  = "too_many_streams"
	// What a tunnel's own rules refuse, and a host that the connection is not for.
	CodeUnauthorized = "unauthorized"
	CodeAccessDenied = "access_denied"
	CodeMisdirected  = "misdirected"
	// CodeClosed is for a connection that the tunnel's owner closed.
	CodeClosed = "closed"
)

// outside keeps everything but an *Error inside the process.
func outside(err error) *Error {
	if e := (*Error)(nil); errors.As(err, &e) {
		return e
	}
	return &Error{Code: CodeInternal, Message: "internal error"}
}
