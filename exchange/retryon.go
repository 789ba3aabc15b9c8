package exchange

import "strings"

// retryWords are the words of retry_on, x-envoy-retry-on and x-envoy-retry-grpc-on. Immutable.
var retryWords = [...]struct {
	word string
	on   RetryOn
}{
	{"5xx", Retry5xx}, {"gateway-error", RetryGatewayError}, {"reset", RetryReset},
	{"reset-before-request", RetryResetBeforeRequest}, {"connect-failure", RetryConnectFailure},
	{"envoy-ratelimited", RetryEnvoyRateLimited}, {"retriable-4xx", RetryRetriable4xx}, {"refused-stream", RetryRefusedStream},
	{"retriable-status-codes", RetryRetriableStatusCodes}, {"retriable-headers", RetryRetriableHeaders},
	{"http3-post-connect-failure", RetryHTTP3PostConnectFailure}, {"cancelled", RetryGRPCCancelled},
	{"deadline-exceeded", RetryGRPCDeadlineExceeded}, {"internal", RetryGRPCInternal},
	{"resource-exhausted", RetryGRPCResourceExhausted}, {"unavailable", RetryGRPCUnavailable},
}

// ParseRetryOn reads a list of retry conditions separated by commas. Words that are none are left out; the first of them is returned
// as well.
func ParseRetryOn(list string) (on RetryOn, unknown string) {
	for word := range strings.SplitSeq(list, ",") {
		word = strings.TrimSpace(word)
		if word == "" {
			continue
		}
		if one := retryCondition(word); one != 0 {
			on |= one
		} else if unknown == "" {
			unknown = word
		}
	}
	return on, unknown
}

func retryCondition(word string) RetryOn {
	for i := range retryWords {
		if retryWords[i].word == word {
			return retryWords[i].on
		}
	}
	return 0
}
