// node.mjs server PORT: an upstream for tests. node.mjs client HOST PORT: clients through Weft. server2 and client2 speak HTTP/2 with prior knowledge.
import http from 'node:http'
import http2 from 'node:http2'
import crypto from 'node:crypto'
import zlib from 'node:zlib'
import assert from 'node:assert'

const accept = (key) => crypto.createHash('sha1').update(key + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11').digest('base64')

// frame makes a WebSocket frame of text or bytes; masked as clients must.
function frame(opcode, data, masked) {
  const head = [0x80 | opcode]
  const bit = masked ? 0x80 : 0
  if (data.length < 126) head.push(bit | data.length)
  else if (data.length < 65536) head.push(bit | 126, data.length >> 8, data.length & 255)
  else head.push(bit | 127, 0, 0, 0, 0, (data.length >>> 24) & 255, (data.length >> 16) & 255, (data.length >> 8) & 255, data.length & 255)
  if (!masked) return Buffer.concat([Buffer.from(head), data])
  const mask = crypto.randomBytes(4)
  const out = Buffer.from(data)
  for (let i = 0; i < out.length; i++) out[i] ^= mask[i & 3]
  return Buffer.concat([Buffer.from(head), mask, out])
}

// frames calls each for every whole frame that a socket brings.
function frames(socket, rest, each) {
  let buffer = rest
  const parse = () => {
    for (;;) {
      if (buffer.length < 2) return
      let n = buffer[1] & 127
      let at = 2
      if (n === 126) { if (buffer.length < 4) return; n = buffer.readUInt16BE(2); at = 4 }
      else if (n === 127) { if (buffer.length < 10) return; n = Number(buffer.readBigUInt64BE(2)); at = 10 }
      const masked = buffer[1] & 128
      if (buffer.length < at + (masked ? 4 : 0) + n) return
      let data = Buffer.from(buffer.subarray(at + (masked ? 4 : 0), at + (masked ? 4 : 0) + n))
      if (masked) for (let i = 0; i < n; i++) data[i] ^= buffer[at + (i & 3)]
      const opcode = buffer[0] & 15
      buffer = buffer.subarray(at + (masked ? 4 : 0) + n)
      each(opcode, data)
    }
  }
  socket.on('data', (part) => { buffer = Buffer.concat([buffer, part]); parse() })
  parse()
}

// png is a picture of one colour, width and height pixels.
function png(width, height) {
  const table = [...Array(256).keys()].map((n) => { for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1; return n >>> 0 })
  const crc = (b) => { let c = 0xffffffff; for (const x of b) c = table[(c ^ x) & 255] ^ (c >>> 8); return (c ^ 0xffffffff) >>> 0 }
  const chunk = (type, data) => {
    const body = Buffer.concat([Buffer.from(type), data])
    const size = Buffer.alloc(4); size.writeUInt32BE(data.length)
    const check = Buffer.alloc(4); check.writeUInt32BE(crc(body))
    return Buffer.concat([size, body, check])
  }
  const head = Buffer.alloc(13); head.writeUInt32BE(width, 0); head.writeUInt32BE(height, 4); head[8] = 8; head[9] = 2
  const pixels = Buffer.alloc((width * 3 + 1) * height, 0x7f)
  for (let y = 0; y < height; y++) pixels[y * (width * 3 + 1)] = 0
  return Buffer.concat([Buffer.from('89504e470d0a1a0a', 'hex'), chunk('IHDR', head), chunk('IDAT', zlib.deflateSync(pixels)), chunk('IEND', Buffer.alloc(0))])
}

// page loads everything that a page may and writes what came into its body. The picture /hold delays its load event until then.
const page = `<!doctype html><meta charset=utf-8><title>interop</title><link rel=stylesheet href=/style.css><div id=pictures></div><pre id=result>loading</pre><img src=/hold>
<script type=module>
const done = []
const picture = (i) => new Promise((ok, no) => { const p = new Image(); p.onload = () => ok(p.naturalWidth === 10 + i); p.onerror = no; p.src = '/png?' + (10 + i); document.getElementById('pictures').append(p) })
const check = async (name, f) => { let v; try { v = await f() } catch (e) { v = 'error ' + e } done.push(name + '=' + v) }
const timeout = (ms) => new Promise((_, no) => setTimeout(() => no(new Error('timeout')), ms))
await Promise.all([
  check('pictures', () => Promise.all([...Array(20).keys()].map(picture)).then((all) => all.filter(Boolean).length)),
  check('style', async () => { await fetch('/style.css'); return getComputedStyle(document.getElementById('result')).color }),
  check('stream', async () => {
    const r = (await fetch('/stream')).body.getReader(); let parts = 0, text = ''
    for (;;) { const { done, value } = await r.read(); if (done) break; parts++; text += new TextDecoder().decode(value) }
    return (parts > 1) + '/' + text.length
  }),
  check('post', async () => (await (await fetch('/echo', { method: 'POST', body: 'x'.repeat(100000) })).text()).length),
  check('gzip', async () => (await (await fetch('/gzip')).text()).length),
  check('redirect', async () => { const r = await fetch('/redirect'); return r.redirected + '/' + await r.text() }),
  check('events', () => Promise.race([timeout(10000), new Promise((ok, no) => { const e = new EventSource('/events'); let n = 0; e.onmessage = () => { if (++n === 5) { e.close(); ok(n) } }; e.onerror = () => no(new Error('broken')) })])),
  check('socket', () => Promise.race([timeout(10000), new Promise((ok, no) => {
    const s = new WebSocket('ws://' + location.host + '/ws'); let n = 0; const big = 'y'.repeat(70000)
    s.onopen = () => { s.send('hello'); s.send(big); s.send('é') }
    s.onmessage = (m) => { n += m.data.length; if (m.data === 'é') s.close(1000, 'enough') }
    s.onclose = (c) => ok(n + '/' + c.code + '/' + c.wasClean); s.onerror = () => no(new Error('broken'))
  })])),
])
document.getElementById('result').textContent = 'done ' + done.sort().join(' ')
await fetch('/report', { method: 'POST', body: document.getElementById('result').textContent })
</script>`

// answers returns the handler of requests, of either version.
function answers() {
  const held = [] // answers that wait until a page has loaded everything
  return (req, res) => {
    const url = new URL(req.url, 'http://x')
    switch (url.pathname) {
      case '/page': res.setHeader('content-type', 'text/html'); res.end(page); break
      case '/style.css': res.setHeader('content-type', 'text/css'); res.end('#result { color: rgb(1, 2, 3) }'); break
      case '/png': res.setHeader('content-type', 'image/png'); res.end(png(Number(url.search.slice(1)), 10)); break
      case '/echo': req.pipe(res); break
      case '/gzip': res.setHeader('content-encoding', 'gzip'); res.end(zlib.gzipSync('z'.repeat(50000))); break
      case '/redirect': res.writeHead(302, { location: '/target' }); res.end(); break
      case '/early': res.writeEarlyHints({ link: '</style.css>; rel=preload; as=style' }); res.end('early'); break
      case '/trailer': res.setHeader('trailer', 'X-Sum'); res.write('body'); res.addTrailers({ 'X-Sum': '42' }); res.end(); break
      case '/stream': {
        let n = 0
        const t = setInterval(() => { res.write('part '.repeat(10)); if (++n === 10) { clearInterval(t); res.end() } }, 20)
        break
      }
      case '/events': {
        res.setHeader('content-type', 'text/event-stream')
        let n = 0
        const t = setInterval(() => res.write(`id: ${n}\ndata: ${n++}\n\n`), 20)
        res.on('close', () => clearInterval(t))
        break
      }
      case '/hold': held.push(res); break
      case '/report':
        req.resume().on('end', () => { res.end(); held.splice(0).forEach((r) => { r.setHeader('content-type', 'image/png'); r.end(png(1, 1)) }) })
        break
      default: res.end(req.method + ' ' + req.url)
    }
  }
}

// repeat is a WebSocket server that sends back what it gets, on a socket or a stream.
function repeat(socket, head) {
  frames(socket, head, (opcode, data) => {
    if (opcode === 9) socket.write(frame(10, data, false))
    else if (opcode === 8) { socket.end(frame(8, data, false)) }
    else socket.write(frame(opcode, data, false))
  })
}

function serve(port) {
  const server = http.createServer(answers())
  server.on('upgrade', (req, socket, head) => {
    socket.on('error', () => {})
    socket.on('end', () => socket.end()) // Node's servers leave it half open
    if (req.url !== '/ws' || !req.headers['sec-websocket-key']) { socket.end('HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n'); return }
    socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ' + accept(req.headers['sec-websocket-key']) + '\r\n\r\n')
    repeat(socket, head)
  })
  server.on('clientError', (_, socket) => socket.destroy())
  server.listen(port, '127.0.0.1')
}

function serve2(port) {
  const server = http2.createServer({ settings: { enableConnectProtocol: true } }, answers())
  server.on('connect', (req, res) => { // WebSocket by extended CONNECT (RFC 8441)
    req.stream.on('error', () => {})
    if (req.url !== '/ws' || req.headers[':protocol'] !== 'websocket') { res.statusCode = 400; res.end(); return }
    res.writeHead(200)
    req.stream.on('end', () => req.stream.end())
    repeat(req.stream, Buffer.alloc(0))
  })
  server.on('sessionError', () => {})
  server.listen(port, '127.0.0.1')
}

// ask asks and reads all.
const ask = (options, body) => new Promise((ok, no) => {
  const informed = []
  const req = http.request(options, (res) => {
    const from = res.socket.localPort
    const parts = []
    res.on('data', (p) => parts.push(p))
    res.on('end', () => ok({ status: res.statusCode, headers: res.headers, trailers: res.trailers, body: Buffer.concat(parts), parts: parts.length, reused: req.reusedSocket, port: from, informed }))
    res.on('error', no)
  })
  req.on('information', (i) => informed.push(i.statusCode))
  req.on('error', no)
  if (body && body.pipe) body.pipe(req)
  else req.end(body)
})

// socket opens a WebSocket by hand.
const socket = (host, port) => new Promise((ok, no) => {
  const key = crypto.randomBytes(16).toString('base64')
  const req = http.request({ host, port, path: '/ws', headers: { Connection: 'Upgrade', Upgrade: 'websocket', 'Sec-WebSocket-Key': key, 'Sec-WebSocket-Version': '13' } })
  req.on('upgrade', (res, s, head) => { assert.equal(res.headers['sec-websocket-accept'], accept(key)); ok([s, head]) })
  req.on('response', (res) => no(new Error('status ' + res.statusCode)))
  req.on('error', no)
  req.end()
})

async function clients(host, port) {
  const checks = {
    async agent() {
      const agent = new http.Agent({ keepAlive: true, maxSockets: 4 })
      const all = await Promise.all([...Array(400).keys()].map((i) => ask({ host, port, agent, path: '/a' + i })))
      all.forEach((a, i) => assert.equal(a.body.toString(), 'GET /a' + i))
      assert.equal(new Set(all.map((a) => a.port)).size, 4)
      agent.destroy()
    },
    async idle() {
      const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
      for (let i = 0; i < 5; i++) {
        const a = await ask({ host, port, agent, path: '/idle' })
        assert.equal(a.reused, i > 0)
      }
      agent.destroy()
    },
    async upload() {
      const data = crypto.randomBytes(3 << 20)
      for (const headers of [{ 'content-length': data.length }, { 'transfer-encoding': 'chunked' }]) {
        const a = await ask({ host, port, path: '/echo', method: 'POST', headers }, data)
        assert.ok(a.body.equals(data))
      }
    },
    async expect() {
      const a = await new Promise((ok, no) => {
        const req = http.request({ host, port, path: '/echo', method: 'POST', headers: { expect: '100-continue', 'content-length': 4 } }, (res) => res.on('data', (d) => ok(d.toString())))
        req.on('continue', () => req.end('body'))
        req.on('error', no)
        req.flushHeaders()
      })
      assert.equal(a, 'body')
    },
    async trailer() {
      const a = await ask({ host, port, path: '/trailer' })
      assert.deepEqual({ ...a.trailers }, { 'x-sum': '42' })
    },
    async early() {
      const a = await ask({ host, port, path: '/early' })
      assert.deepEqual(a.informed, [103])
    },
    async stream() {
      const a = await ask({ host, port, path: '/stream' })
      assert.equal(a.body.length, 500)
      assert.ok(a.parts >= 5, 'came in ' + a.parts + ' parts')
    },
    async aborted() {
      for (let i = 0; i < 20; i++) {
        await new Promise((ok) => {
          const req = http.get({ host, port, path: '/events' }, (res) => res.once('data', () => { req.destroy(); ok() }))
          req.on('error', ok)
        })
      }
    },
    async websocket() {
      const [s, head] = await socket(host, port)
      const got = []
      const closed = new Promise((ok) => s.on('close', ok))
      frames(s, head, (opcode, data) => { got.push([opcode, data]); if (opcode === 8) s.end() })
      const sent = [[1, Buffer.from('hello')], [9, Buffer.from('ping')], [2, crypto.randomBytes(100000)], [1, Buffer.alloc(0)], [2, crypto.randomBytes(3 << 20)], [8, Buffer.from([3, 232])]]
      for (const [opcode, data] of sent) s.write(frame(opcode, data, true))
      await closed
      assert.deepEqual(got.map(([o, d]) => [o, d.length]), sent.map(([o, d]) => [o === 9 ? 10 : o, d.length]))
      got.forEach(([, d], i) => assert.ok(d.equals(sent[i][1])))
    },
    async websockets() {
      await Promise.all([...Array(100).keys()].map(async (i) => {
        const [s, head] = await socket(host, port)
        await new Promise((ok) => { s.on('close', ok); frames(s, head, (o, d) => { if (o === 1) { assert.equal(d.toString(), 'n' + i); s.write(frame(8, Buffer.from([3, 232]), true)) } else s.end() }); s.write(frame(1, Buffer.from('n' + i), true)) })
      }))
    },
    async abandoned() {
      for (let i = 0; i < 20; i++) {
        const [s] = await socket(host, port)
        s.on('error', () => {})
        i % 2 ? s.destroy() : s.resetAndDestroy()
      }
    },
    async refused() {
      const a = await ask({ host, port, path: '/no', headers: { Connection: 'Upgrade', Upgrade: 'websocket' } })
      assert.equal(a.status, 400)
    },
    async fetched() {
      const r = await fetch(`http://${host}:${port}/echo`, { method: 'POST', body: new Blob(['x'.repeat(1 << 20)]).stream(), duplex: 'half' })
      assert.equal((await r.arrayBuffer()).byteLength, 1 << 20)
      assert.equal(await (await fetch(`http://${host}:${port}/gzip`)).text(), 'z'.repeat(50000))
    },
  }
  for (const [name, check] of Object.entries(checks)) {
    await check()
    console.log('ok', name)
  }
  process.exit(0)
}

// ask2 asks on a session and reads all.
const ask2 = (session, headers, body, trailers) => new Promise((ok, no) => {
  const stream = session.request(headers, { endStream: body === undefined, waitForTrailers: trailers !== undefined })
  const all = { informed: [], parts: 0, trailers: {} }
  const parts = []
  stream.on('headers', (h) => all.informed.push(h[':status']))
  stream.on('response', (h) => { all.status = h[':status']; all.headers = h })
  stream.on('trailers', (h) => { all.trailers = { ...h } })
  stream.on('data', (p) => { parts.push(p); all.parts++ })
  stream.on('wantTrailers', () => stream.sendTrailers(trailers))
  stream.on('end', () => { all.body = Buffer.concat(parts); ok(all) })
  stream.on('error', no)
  if (body !== undefined) stream.end(body)
})

async function clients2(host, port) {
  const session = http2.connect(`http://${host}:${port}`)
  await new Promise((ok, no) => { session.once('remoteSettings', ok); session.once('error', no) })
  const checks = {
    async many() {
      const all = await Promise.all([...Array(400).keys()].map((i) => ask2(session, { ':path': '/a' + i })))
      all.forEach((a, i) => assert.equal(a.body.toString(), 'GET /a' + i))
    },
    async upload() {
      const data = crypto.randomBytes(3 << 20)
      for (const headers of [{ 'content-length': data.length }, {}]) {
        const a = await ask2(session, { ':path': '/echo', ':method': 'POST', ...headers }, data)
        assert.ok(a.body.equals(data))
      }
    },
    async sendTrailers() {
      const a = await ask2(session, { ':path': '/echo', ':method': 'POST' }, 'body', { 'x-check': '7' })
      assert.equal(a.body.toString(), 'body')
    },
    async trailer() {
      assert.deepEqual((await ask2(session, { ':path': '/trailer' })).trailers['x-sum'], '42')
    },
    async early() {
      assert.deepEqual((await ask2(session, { ':path': '/early' })).informed, [103])
    },
    async expect() {
      const a = await new Promise((ok, no) => {
        const stream = session.request({ ':path': '/echo', ':method': 'POST', expect: '100-continue' })
        stream.on('continue', () => stream.end('body'))
        stream.on('data', (d) => ok(d.toString()))
        stream.on('error', no)
      })
      assert.equal(a, 'body')
    },
    async stream() {
      const a = await ask2(session, { ':path': '/stream' })
      assert.equal(a.body.length, 500)
      assert.ok(a.parts >= 5, 'came in ' + a.parts + ' parts')
    },
    async cookies() {
      const a = await ask2(session, { ':path': '/cookies', cookie: ['a=1', 'b=2'] })
      assert.equal(a.status, 200)
    },
    async aborted() {
      for (let i = 0; i < 20; i++) {
        await new Promise((ok) => {
          const stream = session.request({ ':path': '/events' })
          stream.once('data', () => stream.close(http2.constants.NGHTTP2_CANCEL))
          stream.on('close', ok)
        })
      }
    },
    async ping() {
      await new Promise((ok, no) => session.ping((e) => e ? no(e) : ok()))
    },
    async settings() {
      await new Promise((ok, no) => session.settings({ initialWindowSize: 100, headerTableSize: 0 }, (e) => e ? no(e) : ok()))
      assert.equal((await ask2(session, { ':path': '/gzip' })).headers['content-encoding'], 'gzip')
      await new Promise((ok, no) => session.settings({ initialWindowSize: 1 << 20, headerTableSize: 4096 }, (e) => e ? no(e) : ok()))
    },
    async websocket() {
      assert.ok(session.remoteSettings.enableConnectProtocol)
      const stream = session.request({ ':method': 'CONNECT', ':protocol': 'websocket', ':path': '/ws', 'sec-websocket-version': '13', 'sec-websocket-key': crypto.randomBytes(16).toString('base64') })
      const status = await new Promise((ok, no) => { stream.on('response', (h) => ok(h[':status'])); stream.on('error', no) })
      assert.equal(status, 200)
      const got = []
      const closed = new Promise((ok) => stream.on('close', ok))
      frames(stream, Buffer.alloc(0), (opcode, data) => { got.push([opcode, data]); if (opcode === 8) stream.end() })
      const sent = [[1, Buffer.from('hello')], [9, Buffer.from('ping')], [2, crypto.randomBytes(100000)], [1, Buffer.alloc(0)], [2, crypto.randomBytes(3 << 20)], [8, Buffer.from([3, 232])]]
      for (const [opcode, data] of sent) stream.write(frame(opcode, data, true))
      await closed
      assert.deepEqual(got.map(([o, d]) => [o, d.length]), sent.map(([o, d]) => [o === 9 ? 10 : o, d.length]))
      got.forEach(([, d], i) => assert.ok(d.equals(sent[i][1])))
    },
  }
  for (const [name, check] of Object.entries(checks)) {
    await check()
    console.log('ok', name)
  }
  await new Promise((ok) => session.close(ok))
  process.exit(0)
}

const roles = { server: serve, server2: serve2 }
const clientsOf = { client: clients, client2: clients2 }
const [role, ...args] = process.argv.slice(2)
if (roles[role]) roles[role](Number(args[0]))
else clientsOf[role](args[0], Number(args[1])).catch((e) => { console.error(e); process.exit(1) })
