package api

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"

	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/tunnel"
)

// Codes of errors that only the API has.
const (
	codeBadRequest = "bad_request"
	codeMethod     = "method_not_allowed"
	codeTooLarge   = "too_large"
	codeMedia      = "media_type"
	codeFilter     = "filter_invalid"
)

// statuses maps codes to HTTP's. What is not in it is the caller's mistake that
// the edge did understand: 422.
var statuses = map[string]int{
	codeBadRequest:             http.StatusBadRequest,
	codeMethod:                 http.StatusMethodNotAllowed,
	codeTooLarge:               http.StatusRequestEntityTooLarge,
	codeMedia:                  http.StatusUnsupportedMediaType,
	codeFilter:                 http.StatusBadRequest,
	tunnel.CodeForbidden:       http.StatusForbidden,
	tunnel.CodeConflict:        http.StatusConflict,
	tunnel.CodeUnavailable:     http.StatusServiceUnavailable,
	tunnel.CodeUnsupported:     http.StatusNotImplemented,
	tunnel.CodeKey:             http.StatusUnauthorized,
	tunnel.CodeNotFound:        http.StatusNotFound,
	tunnel.CodeTunnelNotFound:  http.StatusNotFound,
	tunnel.CodeName:            http.StatusConflict,
	tunnel.CodeNameInvalid:     http.StatusBadRequest,
	tunnel.CodeLimit:           http.StatusTooManyRequests,
	tunnel.CodeAgentOffline:    http.StatusServiceUnavailable,
	tunnel.CodeTooManyStreams:  http.StatusServiceUnavailable,
	tunnel.CodeDraining:        http.StatusServiceUnavailable,
	tunnel.CodeUpstreamRefused: http.StatusBadGateway,
	tunnel.CodeUpstreamTimeout: http.StatusGatewayTimeout,
	tunnel.CodeInternal:        http.StatusInternalServerError,
}

// fail answers with err. Only a *[tunnel.Error] is for the caller's eyes;
// anything else is logged, and the caller learns that it happened.
func (a *api) fail(w http.ResponseWriter, r *http.Request, err error) {
	var e *tunnel.Error
	if !errors.As(err, &e) {
		if r.Context().Err() != nil {
			return // nobody is there to read it
		}
		a.log.Error("api", "method", r.Method, "path", r.URL.Path, "err", err)
		e = &tunnel.Error{Code: tunnel.CodeInternal, Message: "internal error", Hint: "the edge's log says more"}
	}
	status, ok := statuses[e.Code]
	if !ok {
		status = http.StatusUnprocessableEntity
	}
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="lrok"`)
	}
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	w.Header().Set("Lrok-Error-Code", e.Code)
	write(w, status, "application/problem+json", client.Problem{
		Type:   "about:blank",
		Title:  http.StatusText(status),
		Status: status,
		Detail: e.Message,
		Code:   e.Code,
		Hint:   e.Hint,
	})
}

// answer sends v as JSON.
func answer(w http.ResponseWriter, v any) { write(w, http.StatusOK, "application/json", v) }

// created sends v, which is new at the path below the API's base.
func created(w http.ResponseWriter, c call, at string, v any) {
	w.Header().Set("Location", c.base+at)
	write(w, http.StatusCreated, "application/json", v)
}

func write(w http.ResponseWriter, status int, contentType string, v any) {
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false) // a path with & reads as it is; nosniff keeps it from being HTML
	_ = enc.Encode(v)        // the client has left
}

func badRequest(message, hint string) *tunnel.Error {
	return &tunnel.Error{Code: codeBadRequest, Message: message, Hint: hint}
}

func unsupported(what string) *tunnel.Error {
	return &tunnel.Error{Code: tunnel.CodeUnsupported, Message: "this edge runs without " + what, Hint: "ask whoever runs it"}
}

func discard(l *slog.Logger) *slog.Logger {
	if l == nil {
		return slog.New(slog.DiscardHandler)
	}
	return l
}
