package cgroup

import (
	"testing"
	"testing/fstest"
)

func TestMemoryLimitIsTheLeastOfTheGroupAndItsAncestors(t *testing.T) {
	tests := []struct {
		name  string
		files map[string]string
		want  int64
		ok    bool
	}{
		{"no cgroup file", nil, 0, false},
		{"version 2", map[string]string{"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "1000\n"}, 1000, true},
		{"version 2 without a limit", map[string]string{"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": "max\n"}, 0, false},
		{"version 2, the parent is tighter", map[string]string{
			"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "1000\n", "sys/fs/cgroup/a/memory.max": "500\n"}, 500, true},
		{"version 2 in a container", map[string]string{"proc/self/cgroup": "0::/host/only\n", "sys/fs/cgroup/memory.max": "700\n"}, 700, true},
		{"version 2, outside the namespace", map[string]string{"proc/self/cgroup": "0::/../x\n", "sys/fs/cgroup/memory.max": "700\n"}, 700, true},
		{"version 1", map[string]string{
			"proc/self/cgroup": "5:cpu:/c\n4:blkio,memory:/m\n", "sys/fs/cgroup/memory/m/memory.limit_in_bytes": "800\n"}, 800, true},
		{"version 1 without a limit", map[string]string{
			"proc/self/cgroup": "4:memory:/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, 0, false},
		{"both, version 1 has the limit", map[string]string{
			"proc/self/cgroup": "4:memory:/m\n0::/m\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "900\n"}, 900, true},
		{"garbage", map[string]string{"proc/self/cgroup": "x\n0:\n", "sys/fs/cgroup/memory.max": "1\n"}, 0, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			root := fstest.MapFS{}
			for name, text := range test.files {
				root[name] = &fstest.MapFile{Data: []byte(text)}
			}
			if got, ok := MemoryLimit(root); ok != test.ok || ok && got != test.want {
				t.Errorf("MemoryLimit() = %d, %t; want %d, %t", got, ok, test.want, test.ok)
			}
		})
	}
}
