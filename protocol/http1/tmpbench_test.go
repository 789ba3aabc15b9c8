package http1
import ("testing";"net";"context";"os";"time";"runtime/pprof";"github.com/weftproxy/weft/conn")
func TestTmpBench(t *testing.T) {
	if os.Getenv("H1B")=="" { t.Skip() }
	l, err := net.Listen("tcp","127.0.0.1:19003"); if err!=nil {t.Fatal(err)}
	r := &relay{client: NewClient(ClientOptions{}), addr: "127.0.0.1:19001"}
	o := lax(); o.IdleTimeout=time.Hour; o.PeekAfter=250*time.Millisecond
	srv := NewServer(o)
	go func(){ for { nc, err := l.Accept(); if err!=nil {return}; go func(){ c:=conn.New(nc); c.Info().Began=time.Now(); srv.Serve(context.Background(), c, r); c.Close() }() } }()
	if p:=os.Getenv("H1P"); p!="" { f,_:=os.Create(p); time.Sleep(2*time.Second); pprof.StartCPUProfile(f); time.Sleep(4*time.Second); pprof.StopCPUProfile(); f.Close() }
	time.Sleep(25*time.Second); os.Exit(0)
}
