package tui

import (
	"strings"
	"time"

	"github.com/lrok-dev/lrok/edge/client"
	"github.com/lrok-dev/lrok/inspector"
	"github.com/lrok-dev/lrok/inspector/format"
)

// meterSeconds is how far back a meter remembers.
const meterSeconds = 32

// A meter counts bytes by second. It remembers the last half minute.
type meter struct {
	at    int64 // the second of the latest count
	count [meterSeconds]int64
}

func (m *meter) add(now time.Time, n int64) {
	s := now.Unix()
	for i := max(m.at+1, s-meterSeconds+1); i <= s; i++ {
		m.count[i%meterSeconds] = 0
	}
	m.at = max(m.at, s)
	m.count[m.at%meterSeconds] += n
}

// second is what was counted in the second s.
func (m *meter) second(s int64) int64 {
	if s > m.at || s <= m.at-meterSeconds || s < 0 {
		return 0
	}
	return m.count[s%meterSeconds]
}

// perSecond is the mean over the two seconds up to now.
func (m *meter) perSecond(now time.Time) int64 {
	s, part := now.Unix(), now.Nanosecond()
	n := float64(m.second(s)) + float64(m.second(s-1))
	n += float64(m.second(s-2)) * (1 - float64(part)/float64(time.Second))
	return int64(n / 2)
}

// spark draws the last n whole seconds as blocks, from nothing to the most of
// them.
func (m *meter) spark(now time.Time, blocks []string, n int) string {
	s := now.Unix()
	most := int64(1)
	for i := range n {
		most = max(most, m.second(s-int64(n)+int64(i)))
	}
	var b strings.Builder
	for i := range n {
		v := m.second(s - int64(n) + int64(i))
		k := int(float64(v) / float64(most) * float64(len(blocks)-1))
		if v > 0 {
			k = max(k, 1) // a little is not nothing
		}
		b.WriteString(blocks[k])
	}
	return b.String()
}

// traffic is what passes through a tunnel without HTTP. Its connections tell as
// they go; the edge's own counters, asked for now and then, know what passed
// before this screen came and what is not listed.
type traffic struct {
	in, out int64
	open    int64 // as the edge said last
	total   int64
	meter   meter

	known  bool // the edge has told
	unused bool // nothing had passed when it first did: all that comes is news
	hidden bool // it lists no connections of this tunnel
	born   time.Time
	began  time.Time // when the first connection came to this screen
	told   time.Time // when the edge told last
	next   time.Time // when to ask again
	asking bool
	moved  bool // connections have told something since the edge was asked
}

// see takes what x has moved since it was old, which is nil for a connection
// that is new here.
func (f *traffic) see(old *capture, x *inspector.Exchange, now time.Time) (in, out int64) {
	if f.began.IsZero() {
		f.began = now
	}
	in, out = x.Request.Body.Size, x.Response.Body.Size
	if old != nil {
		in, out = max(in-old.Request.Body.Size, 0), max(out-old.Response.Body.Size, 0)
	} else if now.Sub(f.began) < time.Second && !f.unused {
		// The list as it was when the screen came: nobody knows when that was.
		if !f.known {
			f.in, f.out = f.in+in, f.out+out
		}
		return 0, 0
	}
	if in+out > 0 {
		f.in, f.out, f.moved = f.in+in, f.out+out, true
		f.meter.add(now, in+out)
	}
	return in, out
}

// settle takes the edge's counters. While connections tell of themselves these
// lag behind, or run ahead of what was told: they count when all is quiet.
func (f *traffic) settle(t *client.Tunnel, now time.Time) {
	f.open, f.total = t.Open, t.Connections
	if f.known && !f.moved && !t.Inspect && t.CreatedAt.Equal(f.born) {
		n := max(t.BytesIn-f.in, 0) + max(t.BytesOut-f.out, 0)
		for seconds := min(max(now.Unix()-f.told.Unix(), 1), meterSeconds/2); seconds > 0; seconds-- {
			part := n / seconds
			f.meter.add(now.Add(-time.Duration(seconds-1)*time.Second), part)
			n -= part
		}
	}
	if !f.known || !f.moved || !t.CreatedAt.Equal(f.born) {
		f.in, f.out = t.BytesIn, t.BytesOut
	}
	f.unused = f.unused || !f.known && t.Connections == 0
	f.known, f.hidden, f.born, f.told = true, !t.Inspect, t.CreatedAt, now
}

// amount writes a number of bytes for a column of seven.
func amount(n int64) string {
	if n < 1000 {
		return sprintf("%d B", max(n, 0))
	}
	return format.Bytes(n)
}
