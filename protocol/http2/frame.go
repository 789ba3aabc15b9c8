package http2

import (
	"encoding/binary"
	"fmt"
)

// preface is what a client sends first (RFC 9113 section 3.4).
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// frameType is the type of a frame (RFC 9113 section 6).
type frameType uint8

const (
	frameData frameType = iota
	frameHeaders
	framePriority
	frameRST
	frameSettings
	framePush
	framePing
	frameGoAway
	frameWindowUpdate
	frameContinuation
)

// Flags of frames.
const (
	flagEndStream  = 0x1
	flagAck        = 0x1
	flagEndHeaders = 0x4
	flagPadded     = 0x8
	flagPriority   = 0x20
)

const (
	frameHead       = 9     // bytes of a frame's header
	maxFrame        = 16384 // the largest payload that Weft accepts, and sends: what no peer may refuse
	maxFrameLimit   = 1<<24 - 1
	maxWindow       = 1<<31 - 1
	defaultWindow   = 65535
	maxStreamID     = 1<<31 - 1
	initialPeerMost = 100 // streams that a peer is taken to accept before its SETTINGS came
)

// A setting is a parameter of SETTINGS (RFC 9113 section 6.5.2, RFC 8441).
type setting uint16

const (
	settingTableSize setting = 1 + iota
	settingPush
	settingMaxStreams
	settingWindow
	settingMaxFrame
	settingMaxHeaderList
	_
	settingConnect
)

// A Code is an HTTP/2 error code (RFC 9113 section 7).
type Code uint32

// The error codes.
const (
	CodeNo Code = iota
	CodeProtocol
	CodeInternal
	CodeFlowControl
	CodeSettingsTimeout
	CodeStreamClosed
	CodeFrameSize
	CodeRefused
	CodeCancel
	CodeCompression
	CodeConnect
	CodeCalm // ENHANCE_YOUR_CALM
	CodeSecurity
	CodeHTTP11
)

// String returns the code's name.
func (c Code) String() string {
	names := [...]string{"NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
		"FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM", "INADEQUATE_SECURITY",
		"HTTP_1_1_REQUIRED"}
	if int(c) < len(names) {
		return names[c]
	}
	return fmt.Sprintf("code %d", uint32(c))
}

// A frame is the header of a frame.
type frame struct {
	length int
	kind   frameType
	flags  uint8
	id     uint32
}

// parseFrame decodes the nine bytes of b.
func parseFrame(b []byte) frame {
	_ = b[8]
	return frame{
		length: int(b[0])<<16 | int(b[1])<<8 | int(b[2]), kind: frameType(b[3]), flags: b[4],
		id: binary.BigEndian.Uint32(b[5:]) & maxStreamID,
	}
}

// appendFrame appends a frame's header.
func appendFrame(dst []byte, kind frameType, flags uint8, id uint32, length int) []byte {
	return append(dst, byte(length>>16), byte(length>>8), byte(length), byte(kind), flags, byte(id>>24), byte(id>>16), byte(id>>8), byte(id))
}

func appendUint32(dst []byte, v uint32) []byte { return binary.BigEndian.AppendUint32(dst, v) }

func appendSetting(dst []byte, s setting, v uint32) []byte {
	return appendUint32(binary.BigEndian.AppendUint16(dst, uint16(s)), v)
}

// unpad takes padding off the payload of a DATA or HEADERS frame.
func unpad(f frame, p []byte) ([]byte, error) {
	if f.flags&flagPadded == 0 {
		return p, nil
	}
	if len(p) == 0 {
		return nil, errFrameSize
	}
	pad := int(p[0])
	if p = p[1:]; pad > len(p) {
		return nil, errPadding
	}
	return p[:len(p)-pad], nil
}
