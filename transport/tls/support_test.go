package tls

import (
	"testing"

	"github.com/weftproxy/weft/resource"
)

func TestSupportListsEveryField(t *testing.T) {
	for _, wrong := range resource.VerifyComplete(Support()) {
		t.Error(wrong)
	}
}
