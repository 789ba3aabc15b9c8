package hpack

import (
	"encoding/hex"
	"strings"
	"testing"
)

// The examples of RFC 7541 appendix C. Each block of a group uses the table that the one before has left.
func TestDecoderReadsTheExamplesOfTheRFC(t *testing.T) {
	type block struct {
		hex  string
		want string // fields, one a line; * marks a sensitive one
		size int    // of the table afterwards
	}
	const (
		req1  = ":method GET|:scheme http|:path /|:authority www.example.com"
		req2  = req1 + "|cache-control no-cache"
		req3  = ":method GET|:scheme https|:path /index.html|:authority www.example.com|custom-key custom-value"
		resp1 = ":status 302|cache-control private|date Mon, 21 Oct 2013 20:13:21 GMT|location https://www.example.com"
		resp2 = ":status 307|cache-control private|date Mon, 21 Oct 2013 20:13:21 GMT|location https://www.example.com"
		resp3 = ":status 200|cache-control private|date Mon, 21 Oct 2013 20:13:22 GMT|location https://www.example.com|" +
			"content-encoding gzip|set-cookie foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"
	)
	for name, test := range map[string]struct {
		max    int
		blocks []block
		table  string // afterwards, the newest entry first
	}{
		"C.2.1": {4096, []block{{"400a637573746f6d2d6b65790d637573746f6d2d686561646572", "custom-key custom-header", 55}},
			"custom-key custom-header"},
		"C.2.2": {4096, []block{{"040c2f73616d706c652f70617468", ":path /sample/path", 0}}, ""},
		"C.2.3": {4096, []block{{"100870617373776f726406736563726574", "*password secret", 0}}, ""},
		"C.2.4": {4096, []block{{"82", ":method GET", 0}}, ""},
		"C.3": {4096, []block{
			{"828684410f7777772e6578616d706c652e636f6d", req1, 57},
			{"828684be58086e6f2d6361636865", req2, 110},
			{"828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565", req3, 164},
		}, "custom-key custom-value|cache-control no-cache|:authority www.example.com"},
		"C.4": {4096, []block{
			{"828684418cf1e3c2e5f23a6ba0ab90f4ff", req1, 57},
			{"828684be5886a8eb10649cbf", req2, 110},
			{"828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf", req3, 164},
		}, "custom-key custom-value|cache-control no-cache|:authority www.example.com"},
		"C.5": {256, []block{
			{"4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d54" +
				"6e1768747470733a2f2f7777772e6578616d706c652e636f6d", resp1, 222},
			{"4803333037c1c0bf", resp2, 222},
			{"88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f3d4153444a4b4851" +
				"4b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b2076657273696f6e3d31", resp3, 215},
		}, "set-cookie foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1|content-encoding gzip|" +
			"date Mon, 21 Oct 2013 20:13:22 GMT"},
		"C.6": {256, []block{
			{"488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3",
				resp1, 222},
			{"4883640effc1c0bf", resp2, 222},
			{"88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960d5af2708" +
				"7f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007", resp3, 215},
		}, "set-cookie foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1|content-encoding gzip|" +
			"date Mon, 21 Oct 2013 20:13:22 GMT"},
	} {
		t.Run(name, func(t *testing.T) {
			var d Decoder
			d.Init(4096)
			d.table.resize(test.max)
			for i, b := range test.blocks {
				raw, err := hex.DecodeString(b.hex)
				if err != nil {
					t.Fatal(err)
				}
				got, err := decode(&d, raw)
				if err != nil {
					t.Fatalf("block %d: %v", i+1, err)
				}
				if want := render(lines(b.want)); render(got) != want {
					t.Errorf("block %d: got\n%swant\n%s", i+1, render(got), want)
				}
				if d.table.size != b.size {
					t.Errorf("block %d: the table has %d bytes, want %d", i+1, d.table.size, b.size)
				}
				checkTable(t, &d.table)
			}
			if got, want := render(entries(&d.table)), render(lines(test.table)); got != want {
				t.Errorf("table: got\n%swant\n%s", got, want)
			}
		})
	}
}

// lines reads the notation of the examples.
func lines(s string) []pair {
	if s == "" {
		return nil
	}
	var ps []pair
	for _, line := range strings.Split(s, "|") {
		line, sensitive := strings.CutPrefix(line, "*")
		name, value, _ := strings.Cut(line, " ")
		ps = append(ps, pair{name, value, sensitive})
	}
	return ps
}
