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
//
// Both count the same bytes, and neither says up to which moment. So they are
// never added: each is at most what has passed, and the larger one is shown.
type traffic struct {
	told    [2]int64 // in and out, what connections told on this screen
	counted [2]int64 // in and out, as the edge said last
	open    int64    // as the edge said last
	total   int64
	calls   int64 // requests, as the edge said last
	meter   meter

	known  bool // the edge has told
	unused bool // nothing had passed when it first did: all that comes is news
	hidden bool // it lists no connections of this tunnel
	away   bool // its agent is not connected
	born   time.Time
	began  time.Time // when the first connection came to this screen
	at     time.Time // when the edge told last
	next   time.Time // when to ask again
	asking bool
}

// passed is how many bytes went in and out in the tunnel's life.
func (f *traffic) passed() (in, out int64) {
	return max(f.told[0], f.counted[0]), max(f.told[1], f.counted[1])
}

// see takes what x has moved since it was old, which is nil for a connection
// that is new here.
func (f *traffic) see(old *capture, x *inspector.Exchange, now time.Time) (in, out int64) {
	if f.began.IsZero() {
		f.began = now
	}
	in, out = max(x.Request.Body.Size, 0), max(x.Response.Body.Size, 0)
	if old != nil {
		in, out = max(in-old.Request.Body.Size, 0), max(out-old.Response.Body.Size, 0)
	}
	f.told[0], f.told[1] = f.told[0]+in, f.told[1]+out
	if old == nil && now.Sub(f.began) < time.Second && !f.unused {
		return 0, 0 // the list as it was when the screen came: nobody knows when that was
	}
	if in+out > 0 {
		f.meter.add(now, in+out)
	}
	return in, out
}

// settle takes the edge's counters.
func (f *traffic) settle(t *client.Tunnel, now time.Time) {
	if f.known && !t.CreatedAt.Equal(f.born) {
		f.told = [2]int64{} // of another tunnel of that name
	} else if f.known && !t.Inspect {
		// Nothing else tells how much passes.
		n := max(t.BytesIn-f.counted[0], 0) + max(t.BytesOut-f.counted[1], 0)
		for seconds := min(max(now.Unix()-f.at.Unix(), 1), meterSeconds/2); seconds > 0; seconds-- {
			part := n / seconds
			f.meter.add(now.Add(-time.Duration(seconds-1)*time.Second), part)
			n -= part
		}
	}
	f.unused = f.unused || !f.known && t.Connections == 0
	f.counted, f.open, f.total = [2]int64{t.BytesIn, t.BytesOut}, t.Open, t.Connections
	f.calls = t.Requests
	f.known, f.hidden, f.away, f.born, f.at = true, !t.Inspect, !t.Online, t.CreatedAt, now
}

// amount writes a number of bytes for a column of seven.
func amount(n int64) string {
	if n < 1000 {
		return sprintf("%d B", max(n, 0))
	}
	return format.Bytes(n)
}
