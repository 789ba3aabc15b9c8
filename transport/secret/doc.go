// Package secret keeps certificates, keys, trust anchors and session ticket keys: those that the configuration names and those it has inline,
// out of text or files. Who uses one holds its Slot, which always has the current value; a Store watches the files. It is the one place
// where key material is read, so that a source of another kind (SDS) changes nothing for those who use it.
package secret
