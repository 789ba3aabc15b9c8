-- The load generator's script. Its one argument is the size of a POST body;
-- 0 means GET. Neither function runs during the measurement.

function init(args)
  local size = tonumber(args[1])
  if size > 0 then
    wrk.method = "POST"
    wrk.body = string.rep("x", size)
  end
end

function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    "bench: requests=%d bytes=%d us=%d p50=%d p99=%d connect=%d read=%d write=%d timeout=%d status=%d\n",
    summary.requests, summary.bytes, summary.duration,
    latency:percentile(50), latency:percentile(99),
    e.connect, e.read, e.write, e.timeout, e.status))
end
