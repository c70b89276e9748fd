package format

import "testing"

func TestSecretHeader(t *testing.T) {
	for _, name := range []string{
		"Authorization", "proxy-authorization", "Cookie", "Set-Cookie", "Stripe-Signature", "X-Hub-Signature-256", "X-Hub-Signature",
		"webhook-signature", "svix-signature", "X-Slack-Signature", "X-Shopify-Hmac-Sha256", "X-Signature-Ed25519", "X-Api-Key", "apikey",
		"X-API-KEY", "Ocp-Apim-Subscription-Key", "X-Auth-Token", "X-CSRF-Token", "X-Amz-Security-Token", "X-Vault-Token", "PRIVATE-TOKEN",
		"x-functions-key", "X-Gitlab-Token", "X-Client-Secret", "Api-Key", "X-Amz-Access-Key", "x_api_key",
	} {
		if !SecretHeader(name) {
			t.Errorf("SecretHeader(%q) = false", name)
		}
	}
	for _, name := range []string{
		"", "Content-Type", "Sec-WebSocket-Key", "Idempotency-Key", "X-Request-Id", "Access-Control-Allow-Credentials", "WWW-Authenticate",
		"X-Signature-Timestamp", "X-Slack-Request-Timestamp", "webhook-id", "webhook-timestamp", "Signature-Input", "X-GitHub-Hook-ID", "Key",
		"Surrogate-Key", "Author", "X-Tokens-Remaining", "ETag", "Location",
	} {
		if SecretHeader(name) {
			t.Errorf("SecretHeader(%q) = true", name)
		}
	}
}

func TestMaskAndRedact(t *testing.T) {
	for _, tt := range []struct{ name, value, mask, redacted string }{
		{"Authorization", "Bearer sk_live_0123456789abcdef", "Bearer sk_l●●●●", "Bearer REDACTED"},
		{"Authorization", "Basic dTpw", "Basic ●●●●", "Basic REDACTED"},
		{"authorization", "0123456789abcdef0123", "0123●●●●", "REDACTED"},
		{"Cookie", "sid=0123456789abcdef0123; theme=dark; x", "sid=0123●●●●; theme=●●●●;●●●●", "sid=REDACTED; theme=REDACTED;REDACTED"},
		{"Set-Cookie", "sid=short; Path=/; HttpOnly", "sid=●●●●; Path=/; HttpOnly", "sid=REDACTED; Path=/; HttpOnly"},
		{"Stripe-Signature", "t=1763819345,v1=5257a869e7,v0=63f3a72374", "t=1763819345,v1=●●●●,v0=●●●●", "t=1763819345,v1=REDACTED,v0=REDACTED"},
		{"X-Hub-Signature-256", "sha256=757107ea0eb2509fc211221cce984b8a", "sha256=●●●●", "sha256=REDACTED"},
		{"X-Slack-Signature", "v0=a2114d57b48eac39b9ad189dd8316235", "v0=●●●●", "v0=REDACTED"},
		{"webhook-signature", "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4= v1,bm9ldHU=", "v1,●●●● v1,●●●●", "v1,REDACTED v1,REDACTED"},
		{"X-Twilio-Signature", "RSOYDt4T1cUTdK1PDd93/VVr8B8=", "●●●●", "REDACTED"},
		{"X-Api-Key", "0123456789abcdef", "0123●●●●", "REDACTED"},
		{"X-Api-Key", "0123456789", "●●●●", "REDACTED"},
		{"X-Api-Key", "", "", ""},
		{"X-Api-Key", "\x1b]0;x\x07 and more of it", "␛]0;●●●●", "REDACTED"},
	} {
		if got := Mask(tt.name, tt.value); got != tt.mask {
			t.Errorf("Mask(%q, %q) = %q, want %q", tt.name, tt.value, got, tt.mask)
		}
		if got := Redact(tt.name, tt.value); got != tt.redacted {
			t.Errorf("Redact(%q, %q) = %q, want %q", tt.name, tt.value, got, tt.redacted)
		}
	}
}

func TestRedactTarget(t *testing.T) {
	for in, want := range map[string]string{
		"/":                                   "/",
		"/a?b=c":                              "/a?b=c",
		"/cb?code=abc&state=x":                "/cb?code=REDACTED&state=x",
		"/x?access_token=abc&&apiKey=d&e#f":   "/x?access_token=REDACTED&&apiKey=REDACTED&e#f",
		"/x?X-Amz-Signature=abc&X-Amz-Date=1": "/x?X-Amz-Signature=REDACTED&X-Amz-Date=1",
		"/x?api%5Fkey=abc":                    "/x?api%5Fkey=REDACTED",
		"https://u:p@a.example/b?token=":      "https://REDACTED@a.example/b?token=",
		"https://a.example/b@c":               "https://a.example/b@c",

		"https://a.example/cb#access_token=abc&token_type=bearer": "https://a.example/cb#access_token=REDACTED&token_type=bearer",
		"/cb?code=1#id_token=2":                                   "/cb?code=REDACTED#id_token=REDACTED",
		"/#/reset?token=abc&n=1":                                  "/#/reset?token=REDACTED&n=1",
		"/a#b":                                                    "/a#b",
	} {
		if got := RedactTarget(in); got != want {
			t.Errorf("RedactTarget(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestMaskTarget(t *testing.T) {
	for in, want := range map[string]string{
		"/a?b=c": "/a?b=c",
		"/x?token=0123456789abcdef0123&n=4&sig=5": "/x?token=0123●●●●&n=4&sig=●●●●",
		"https://u:p@a.example/b":                 "https://●●●●@a.example/b",
		"/x?cookie=a=0123456789abcdef0123":        "/x?cookie=a=01●●●●",
	} {
		if got := MaskTarget(in); got != want {
			t.Errorf("MaskTarget(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestHeadersWithAddresses(t *testing.T) {
	for _, tt := range []struct{ name, value, mask, redacted string }{
		{"Location", "/cb#access_token=0123456789abcdef0123&n=1", "/cb#access_token=0123●●●●&n=1", "/cb#access_token=REDACTED&n=1"},
		{"Referer", "https://a.example/?code=abc", "https://a.example/?code=●●●●", "https://a.example/?code=REDACTED"},
		{"Link", `<https://a.example/?token=abc&page=2>; rel="next", </x?key=1>; rel=last`, `<https://a.example/?token=●●●●&page=2>; rel="next", </x?key=●●●●>; rel=last`, `<https://a.example/?token=REDACTED&page=2>; rel="next", </x?key=REDACTED>; rel=last`},
		{"link", "</a?token=1", "</a?token=●●●●", "</a?token=REDACTED"},
		{"link", "token=1>", "token=1>", "token=1>"},
		{"link", "", "", ""},
		{"Refresh", "5; URL=/a?sid=1", "5; URL=/a?sid=●●●●", "5; URL=/a?sid=REDACTED"},
		{"Refresh", "5", "5", "5"},
		{"X-Api-Key", "0123456789abcdef", "0123●●●●", "REDACTED"},
		{"Content-Type", "text/plain?token=1", "text/plain?token=1", "text/plain?token=1"},
	} {
		if got := MaskHeader(tt.name, tt.value); got != tt.mask {
			t.Errorf("MaskHeader(%q, %q) = %q, want %q", tt.name, tt.value, got, tt.mask)
		}
		if got := RedactHeader(tt.name, tt.value); got != tt.redacted {
			t.Errorf("RedactHeader(%q, %q) = %q, want %q", tt.name, tt.value, got, tt.redacted)
		}
	}
}
