// Package http1 is the HTTP/1.1 codec (RFC 9110, RFC 9112): a Server that decodes requests from a downstream connection, a Client that
// sends them on an upstream one. Both block: a keep-alive exchange costs each side one read and one write.
//
// It is strict. A message that two parsers could frame differently is refused and never repaired. Fields that belong to one hop (Connection
// and what it nominates, Transfer-Encoding, Keep-Alive, Upgrade) do not get past the codec; Host is in Request.Authority.
// Content-Length stays among the fields for filters and logs, but only Length decides how a message is framed.
//
// What belongs to an exchange is pooled: an idle connection holds a Conn and the frame of Serve.
package http1
