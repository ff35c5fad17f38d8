# Pokes the kernel so that many different tracepoints fire. $1 is a directory on a disk.
ls -la /proc /etc >/dev/null
cat /etc/passwd >/dev/null
for i in 1 2 3; do (sleep 0.01 & wait); done
dd if=/dev/zero of="$1/poke" bs=64k count=8 conv=fsync 2>/dev/null
rm -f "$1/poke"
command -v python3 >/dev/null || exit 0
python3 - <<'PYTHON'
import mmap, os, signal, socket, threading, time

listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen(1)

def serve():
    peer, _ = listener.accept()
    peer.sendall(peer.recv(100))
    peer.close()

thread = threading.Thread(target=serve)
thread.start()
client = socket.create_connection(listener.getsockname())
client.sendall(b"hello")
client.recv(100)
client.close()
thread.join()

udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("127.0.0.1", 0))
udp.sendto(b"x", udp.getsockname())
udp.recv(10)

signal.signal(signal.SIGUSR1, lambda *_: None)
os.kill(os.getpid(), signal.SIGUSR1)
memory = mmap.mmap(-1, 1 << 20)
memory[0] = 1
memory.close()
signal.setitimer(signal.ITIMER_REAL, 5, 0)
signal.setitimer(signal.ITIMER_REAL, 0)
time.sleep(0.005)
PYTHON
exit 0
