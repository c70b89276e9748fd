package registry

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/lrok-dev/lrok/tunnel"
)

// A quietConn is an idle stream on which nothing happens.
type quietConn struct{ net.Conn }

func (quietConn) Quiet() bool       { return true }
func (quietConn) CloseWrite() error { return nil }
func (quietConn) Close() error      { return nil }

// office lets one network in, less one address of it.
func office() *Access {
	return &Access{
		Allow: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("2001:db8::/32")},
		Deny:  []netip.Prefix{netip.MustParsePrefix("198.51.100.9/32")},
	}
}

// TestNoAllocations holds what happens at each request to no memory at all.
func TestNoAllocations(t *testing.T) {
	r := New(Config{Domain: "lrok.example"})
	mustClaim(t, r, newSession(), "ada", "i1", claim("shop")...)
	var p Pool
	defer p.Close()
	var c tunnel.Conn = quietConn{}
	access, ip := office(), netip.MustParseAddr("198.51.100.7")
	host, now := []byte("shop.lrok.example"), time.Now()
	p.Put(c, now, 0)
	for name, f := range map[string]func() bool{
		"LookupBytes": func() bool { _, ok := r.LookupBytes(host); return ok },
		"Pool": func() bool {
			c := p.Take(now, true)
			p.Put(c, now, 0)
			return c != nil
		},
		"Admits": func() bool { return access.Admits(ip) },
	} {
		if n := testing.AllocsPerRun(100, func() {
			if !f() {
				t.Fatalf("%s finds nothing", name)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations, want 0", name, n)
		}
	}
}

func BenchmarkPool(b *testing.B) {
	for _, idle := range []int{1, poolSize} {
		b.Run(fmt.Sprintf("idle=%d", idle), func(b *testing.B) {
			var p Pool
			defer p.Close()
			now := time.Now()
			for range idle {
				p.Put(quietConn{}, now, time.Hour)
			}
			b.ReportAllocs()
			for b.Loop() {
				c := p.Take(now, true)
				if c == nil {
					b.Fatal("the pool is empty")
				}
				p.Put(c, now, time.Hour)
			}
		})
	}
}

func BenchmarkAdmits(b *testing.B) {
	for _, from := range []string{"198.51.100.7", "198.51.100.9", "203.0.113.5"} {
		b.Run("from="+from, func(b *testing.B) {
			access, ip := office(), netip.MustParseAddr(from)
			want := from == "198.51.100.7"
			b.ReportAllocs()
			for b.Loop() {
				if access.Admits(ip) != want {
					b.Fatal(!want)
				}
			}
		})
	}
}

func BenchmarkLookup(b *testing.B) {
	r := New(Config{Domain: "lrok.example"})
	for i := range 1000 {
		if _, err := r.Claim(b.Context(), newSession(), "ada", fmt.Sprint("i", i), "laptop", claim(fmt.Sprintf("n%d", i))); err != nil {
			b.Fatal(err)
		}
	}
	host := []byte("n500.lrok.example")
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, ok := r.LookupBytes(host); !ok {
				b.Fatal("not found")
			}
		}
	})
}

// BenchmarkClaim is a claim and its end on an edge with ten thousand tunnels.
func BenchmarkClaim(b *testing.B) {
	r := New(Config{Domain: "lrok.example"})
	for i := range 10_000 {
		if _, err := r.Claim(b.Context(), newSession(), "ada", fmt.Sprint("i", i), "laptop", claim(fmt.Sprintf("n%d", i))); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		s := newSession()
		if _, err := r.Claim(b.Context(), s, "ada", "i", "laptop", claim("one")); err != nil {
			b.Fatal(err)
		}
		r.Release(s)
	}
}
