package observe

// Flag is a set of Envoy response flags.
type Flag uint64

// The response flags, by the short names Envoy's access logs use.
const (
	LH    Flag = 1 << iota // FailedLocalHealthCheck
	UH                     // NoHealthyUpstream
	UT                     // UpstreamRequestTimeout
	LR                     // LocalReset
	UR                     // UpstreamRemoteReset
	UF                     // UpstreamConnectionFailure
	UC                     // UpstreamConnectionTermination
	UO                     // UpstreamOverflow
	NR                     // NoRouteFound
	DI                     // DelayInjected
	FI                     // FaultInjected
	RL                     // RateLimited
	UAEX                   // UnauthorizedExternalService
	RLSE                   // RateLimitServiceError
	DC                     // DownstreamConnectionTermination
	URX                    // UpstreamRetryLimitExceeded
	SI                     // StreamIdleTimeout
	IH                     // InvalidEnvoyRequestHeaders
	DPE                    // DownstreamProtocolError
	UMSDR                  // UpstreamMaxStreamDurationReached
	RFCF                   // ResponseFromCacheFilter
	NFCF                   // NoFilterConfigFound
	DT                     // DurationTimeout
	UPE                    // UpstreamProtocolError
	NC                     // NoClusterFound
	OM                     // OverloadManagerTerminated
	DF                     // DnsResolutionFailed
	DO                     // DropOverload
	DR                     // DownstreamRemoteReset
	UDO                    // UnconditionalDropOverload
	flagEnd
)

type flagName struct {
	flag        Flag
	short, long string
}

// flagNames is in the order in which Envoy prints them. Immutable.
var flagNames = [...]flagName{
	{LH, "LH", "FailedLocalHealthCheck"}, {UH, "UH", "NoHealthyUpstream"}, {UT, "UT", "UpstreamRequestTimeout"},
	{LR, "LR", "LocalReset"}, {UR, "UR", "UpstreamRemoteReset"}, {UF, "UF", "UpstreamConnectionFailure"},
	{UC, "UC", "UpstreamConnectionTermination"}, {UO, "UO", "UpstreamOverflow"}, {NR, "NR", "NoRouteFound"},
	{DI, "DI", "DelayInjected"}, {FI, "FI", "FaultInjected"}, {RL, "RL", "RateLimited"},
	{UAEX, "UAEX", "UnauthorizedExternalService"}, {RLSE, "RLSE", "RateLimitServiceError"},
	{DC, "DC", "DownstreamConnectionTermination"}, {URX, "URX", "UpstreamRetryLimitExceeded"},
	{SI, "SI", "StreamIdleTimeout"}, {IH, "IH", "InvalidEnvoyRequestHeaders"}, {DPE, "DPE", "DownstreamProtocolError"},
	{UMSDR, "UMSDR", "UpstreamMaxStreamDurationReached"}, {RFCF, "RFCF", "ResponseFromCacheFilter"},
	{NFCF, "NFCF", "NoFilterConfigFound"}, {DT, "DT", "DurationTimeout"}, {UPE, "UPE", "UpstreamProtocolError"},
	{NC, "NC", "NoClusterFound"}, {OM, "OM", "OverloadManagerTerminated"}, {DF, "DF", "DnsResolutionFailed"},
	{DO, "DO", "DropOverload"}, {DR, "DR", "DownstreamRemoteReset"},
	{UDO, "UDO", "UnconditionalDropOverload"},
}

// Append appends the set's short names, or the long ones, joined by commas, or "-" when it is empty.
func (f Flag) Append(dst []byte, long bool) []byte {
	if f == 0 {
		return append(dst, '-')
	}
	first := true
	for i := range flagNames {
		if n := &flagNames[i]; f&n.flag != 0 {
			if !first {
				dst = append(dst, ',')
			}
			first = false
			if long {
				dst = append(dst, n.long...)
			} else {
				dst = append(dst, n.short...)
			}
		}
	}
	return dst
}

// String returns the short names joined by commas, "-" when there are none.
func (f Flag) String() string { return string(f.Append(nil, false)) }

// ParseFlag returns the flag of a short name, 0 when there is no such flag.
func ParseFlag(short string) Flag {
	for i := range flagNames {
		if flagNames[i].short == short {
			return flagNames[i].flag
		}
	}
	return 0
}
