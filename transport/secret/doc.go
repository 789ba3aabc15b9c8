// Package secret keeps certificates, keys, trust anchors and session ticket keys: those that the configuration names, those it has inline,
// out of text or files, and those that a source delivers (SDS). Who uses one holds its Slot, which always has the current value, nil while
// none was delivered; a Store watches the files. It is the one place where key material is read.
package secret
