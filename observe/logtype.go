package observe

// LogType says at which point of an exchange or a connection an access log entry is written: Envoy's AccessLogType, with its numbers.
type LogType uint8

// The points at which Weft writes entries.
const (
	LogNotSet            LogType = 0
	TCPUpstreamConnected LogType = 1
	TCPPeriodic          LogType = 2
	TCPConnectionEnd     LogType = 3
	DownstreamStart      LogType = 4
	DownstreamPeriodic   LogType = 5
	DownstreamEnd        LogType = 6
	UpstreamEnd          LogType = 9
	DownstreamTunnel     LogType = 10
	TCPConnectionStart   LogType = 14
)

// logTypeNames holds Envoy's spelling by number. Immutable.
var logTypeNames = [...]string{"NotSet", "TcpUpstreamConnected", "TcpPeriodic", "TcpConnectionEnd", "DownstreamStart", "DownstreamPeriodic",
	"DownstreamEnd", "UpstreamPoolReady", "UpstreamPeriodic", "UpstreamEnd", "DownstreamTunnelSuccessfullyEstablished",
	"UdpTunnelUpstreamConnected", "UdpPeriodic", "UdpSessionEnd", "TcpConnectionStart"}

// String returns the name that %ACCESS_LOG_TYPE% prints.
func (t LogType) String() string {
	if int(t) < len(logTypeNames) {
		return logTypeNames[t]
	}
	return logTypeNames[LogNotSet]
}
