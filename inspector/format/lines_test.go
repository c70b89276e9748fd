package format

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"
)

func indexed(data []byte) *Lines {
	l := NewLines(data)
	l.Index(context.Background(), 0)
	return l
}

func TestLines(t *testing.T) {
	long := strings.Repeat("漢", 3000) // 9,000 bytes
	for _, tt := range []struct {
		name, in string
		want     []string
		numbers  []int
	}{
		{"empty", "", nil, nil},
		{"one", "a", []string{"a"}, []int{1}},
		{"ends", "a\nb\r\n\nc\r\r\n", []string{"a", "b", "", "c\r"}, []int{1, 2, 3, 4}},
		{"long", "x\n" + long + "\ny", []string{"x", long[:4095], long[4095:8190], long[8190:], "y"}, []int{1, 2, 2, 2, 3}},
		{"a line end at the cut", strings.Repeat("a", Chunk) + "\r\nb", []string{strings.Repeat("a", Chunk), "b"}, []int{1, 2}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := indexed([]byte(tt.in))
			var got []string
			var numbers []int
			for i := range l.Count() {
				got = append(got, string(l.Line(i)))
				numbers = append(numbers, l.Number(i))
				if want := i > 0 && numbers[i] == numbers[i-1]; l.Continued(i) != want {
					t.Errorf("Continued(%d) = %v, want %v", i, l.Continued(i), want)
				}
			}
			if !slices.Equal(got, tt.want) || !slices.Equal(numbers, tt.numbers) {
				t.Errorf("lines = %.200q numbered %v\nwant    %.200q numbered %v", got, numbers, tt.want, tt.numbers)
			}
		})
	}
}

func TestLinesGrow(t *testing.T) {
	data := bytes.Repeat([]byte("some line of text\r\n"), 10_000)
	l := NewLines(data)
	steps := 0
	for !l.Index(context.Background(), 10_000) {
		if l.Indexed() < (steps+1)*10_000 || l.Count() != l.Indexed()/19 {
			t.Fatalf("after %d steps %d bytes and %d lines are indexed", steps+1, l.Indexed(), l.Count())
		}
		steps++
	}
	if l.Count() != 10_000 || steps != 18 {
		t.Errorf("%d lines after %d more steps, want 10,000 after 18", l.Count(), steps)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if l := NewLines(data); l.Index(ctx, 0) || l.Count() != 0 {
		t.Error("Index went on after its context had ended")
	}
	// An index must not be many times its body.
	empty := indexed(bytes.Repeat([]byte{'\n'}, 1<<20))
	if got, most := cap(empty.marks)*8, 1<<20; got > most {
		t.Errorf("the index of 1 MiB of line feeds takes %d bytes, want at most %d", got, most)
	}
}

func TestAppendLineTabs(t *testing.T) {
	for in, want := range map[string]string{
		"a\tb":        "a       b",
		"\t\tx":       "                x",
		"1234567\t8":  "1234567 8",
		"12345678\t9": "12345678        9",
		"漢字\tx":       "漢字    x",
		"\x1b\t\x00":  "␛       ␀",
	} {
		if got := string(indexed([]byte(in)).AppendLine(nil, 0)); got != want {
			t.Errorf("AppendLine(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestWrap(t *testing.T) {
	for _, tt := range []struct {
		in          string
		width, hang int
		want        []string
	}{
		{"", 10, 0, []string{""}},
		{"abcdef", 10, 0, []string{"abcdef"}},
		{"abcdef", 3, 0, []string{"abc", "def"}},
		{"abcdefg", 3, 0, []string{"abc", "def", "g"}},
		{"漢字漢", 3, 0, []string{"漢", "字", "漢"}},
		{"a漢字", 3, 0, []string{"a漢", "字"}},
		{"ae\u0301bc", 3, 0, []string{"ae\u0301b", "c"}},
		{"漢字", 1, 0, []string{"漢", "字"}},
		{"one two three", 9, 0, []string{"one two ", "three"}},
		{"one two three", 8, 0, []string{"one two ", "three"}},
		{"to thefarend", 9, 0, []string{"to thefar", "end"}}, // the row would be empty, nearly
		{"    abcdefgh", 6, 0, []string{"    ab", "cdefgh"}},
		{"one two three four", 9, 2, []string{"one two ", "three ", "four"}},
		{"abcdefghij", 6, 2, []string{"abcdef", "ghij"}},
		{"漢字 漢字", 6, 0, []string{"漢字 ", "漢字"}},
		{"one two threefour", 12, 9, []string{"one two thre", "efo", "ur"}},
	} {
		var got []string
		at := 0
		for _, end := range Wrap(nil, []byte(tt.in), tt.width, tt.hang, nil) {
			got = append(got, tt.in[at:end])
			at = end
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("Wrap(%q, %d) = %q, want %q", tt.in, tt.width, got, tt.want)
		}
	}
}

func FuzzLines(f *testing.F) {
	f.Add([]byte("a\nb\r\n\tc\xff"), 3)
	f.Add(bytes.Repeat([]byte("é漢\x80"), 2000), 80)
	f.Fuzz(func(t *testing.T, data []byte, width int) {
		if width < 2 || width > 300 {
			width = 80
		}
		l := indexed(data)
		step := NewLines(data)
		for !step.Index(context.Background(), 100) {
		}
		if step.Count() != l.Count() || l.Indexed() != len(data) {
			t.Fatalf("%d lines by steps, %d at once, %d of %d bytes indexed", step.Count(), l.Count(), l.Indexed(), len(data))
		}
		end := 0
		for i := range l.Count() {
			line := l.Line(i)
			if l.Offset(i) < end || len(line) > Chunk+2 {
				t.Fatalf("line %d begins at %d, after %d, with %d bytes", i, l.Offset(i), end, len(line))
			}
			if gap := string(data[end:l.Offset(i)]); gap != "" && gap != "\n" && gap != "\r\n" {
				t.Fatalf("line %d comes after %q", i, gap)
			}
			if l.At(l.Offset(i)) != i {
				t.Fatalf("At(%d) = %d, want %d", l.Offset(i), l.At(l.Offset(i)), i)
			}
			end = l.Offset(i) + len(line)
			text := l.AppendLine(nil, i)
			checkSafe(t, string(text), "")
			at, room, hang := 0, width, i%7
			for _, e := range Wrap(nil, text, width, hang, nil) {
				if row := string(text[at:e]); !utf8.ValidString(row) || ansi.StringWidth(row) > room || e == at && e > 0 {
					t.Fatalf("row %q is %d columns wide, want at most %d", row, ansi.StringWidth(row), room)
				}
				at, room = e, max(width-hang, 2)
			}
			if at != len(text) {
				t.Fatalf("the rows end at %d of %d", at, len(text))
			}
		}
	})
}

func BenchmarkLinesIndex(b *testing.B) {
	for name, data := range map[string][]byte{"lines": bigJSON(3<<20, true), "one line": bigJSON(5<<20, false)} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				indexed(data)
			}
		})
	}
}
