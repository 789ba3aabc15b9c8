package xds

import (
	"fmt"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"

	"github.com/weftproxy/weft/resource"
)

// maxReason bounds the text of a NACK, in bytes: it travels in every control plane's logs.
const maxReason = 32 << 10

// reason is the error_detail of a response of which something was rejected; nil when nothing was. All that was rejected is named, with as
// many of its problems as there is room for.
func reason(rejected []resource.Rejection) *status.Status {
	if len(rejected) == 0 {
		return nil
	}
	text := ""
	for _, each := range []int{1 << 20, 4, 1} {
		if text = explain(rejected, each); len(text) <= maxReason {
			break
		}
	}
	if len(text) > maxReason { // then there are hundreds
		const room = 40
		text = strings.ToValidUTF8(text[:maxReason-room], "")
		shown := text[:max(strings.LastIndexByte(text, '\n'), 0)]
		if shown == "" {
			shown = text + "..."
		}
		text = fmt.Sprintf("%s\nand %d more", shown, len(rejected)-strings.Count(shown, "\n")-1)
	}
	return &status.Status{Code: int32(codes.Internal), Message: strings.ToValidUTF8(text, "?")}
}

// explain names what was rejected, each with the first of its problems, at most so many, one on a line. It ends early where there is far
// too much.
func explain(rejected []resource.Rejection, each int) string {
	var b strings.Builder
	for _, r := range rejected {
		n := 0
		for _, p := range r.Problems {
			if p.Severity != resource.Error {
				continue
			}
			if n++; n > each {
				continue
			}
			if b.Len() > 0 {
				b.WriteByte('\n')
			}
			if p.Resource == "" {
				p.Resource = r.Key.String()
			}
			b.WriteString(strings.TrimPrefix(p.String(), "error: "))
		}
		if n > each {
			fmt.Fprintf(&b, " (and %d more)", n-each)
		}
		if b.Len() > 2*maxReason {
			break
		}
	}
	return b.String()
}
