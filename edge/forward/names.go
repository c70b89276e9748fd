package forward

import (
	"net/http"
	"strings"
)

// Field names are lower case in HTTP/2, canonical in net/http and as it likes in
// the local service. Of the usual ones no second string is made.
var usualNames = strings.Fields(`
	Accept Accept-Charset Accept-Datetime Accept-Encoding Accept-Language Accept-Patch
	Accept-Ranges Access-Control-Allow-Credentials Access-Control-Allow-Headers
	Access-Control-Allow-Methods Access-Control-Allow-Origin Access-Control-Expose-Headers
	Access-Control-Max-Age Access-Control-Request-Headers Access-Control-Request-Method Age Allow
	Alt-Svc Authorization Cache-Control Connection Content-Disposition Content-Encoding
	Content-Language Content-Length Content-Location Content-Range Content-Security-Policy
	Content-Type Cookie Cross-Origin-Opener-Policy Date Dnt Etag Expect Expires From Host If-Match
	If-Modified-Since If-None-Match If-Range If-Unmodified-Since Keep-Alive Last-Modified Link
	Location Max-Forwards Origin Permissions-Policy Pragma Priority Proxy-Authenticate
	Proxy-Authorization Range Referer Referrer-Policy Retry-After Sec-Ch-Ua Sec-Ch-Ua-Mobile
	Sec-Ch-Ua-Platform Sec-Fetch-Dest Sec-Fetch-Mode Sec-Fetch-Site Sec-Fetch-User Server
	Server-Timing Set-Cookie Strict-Transport-Security Te Trailer Transfer-Encoding Upgrade
	Upgrade-Insecure-Requests User-Agent Vary Via Www-Authenticate X-Content-Type-Options
	X-Forwarded-For X-Forwarded-Host X-Forwarded-Proto X-Frame-Options X-Powered-By X-Request-Id
	X-Requested-With X-Xss-Protection
`)

var lowerNames, canonicalNames = func() (lower, canonical map[string]string) {
	lower, canonical = map[string]string{}, map[string]string{}
	for _, name := range usualNames {
		l := strings.ToLower(name)
		lower[name], canonical[name], canonical[l] = l, name, name
	}
	return lower, canonical
}()

func lowerName(name string) string {
	if l, ok := lowerNames[name]; ok {
		return l
	}
	return strings.ToLower(name)
}

func canonicalName(name []byte) string {
	if c, ok := canonicalNames[string(name)]; ok {
		return c
	}
	return http.CanonicalHeaderKey(string(name))
}
