package secret

import (
	"crypto/sha256"
	"fmt"
	"os"

	"github.com/weftproxy/weft/internal/fswatch"
)

// A signature says which files there were, without reading them. Another signature means that they may have changed; the same one does
// not mean that they have not.
type signature [sha256.Size]byte

// sign is the signature of files as they are now.
func sign(files []string) signature {
	h := sha256.New()
	for _, name := range files {
		info, err := os.Stat(name)
		if err != nil {
			fmt.Fprintf(h, "%s gone\n", name)
			continue
		}
		fmt.Fprintf(h, "%s %d %d %d\n", name, info.Size(), info.ModTime().UnixNano(), fswatch.Inode(info))
	}
	var out signature
	h.Sum(out[:0])
	return out
}
