/*
 * Machine-level primitives that JavaScript cannot express: the syscall and rdtsc instructions, a
 * clock reading bracketed by two TSC readings tight enough to be worth something, and XXH64 at
 * memory speed. Freestanding (no libc symbol), so one shared object serves glibc and musl.
 *
 * Built by native/build.ts into native/stubs_x64.gen.ts; change this file, then run `make native`.
 */
typedef unsigned long u64;
typedef unsigned int u32;
typedef unsigned char u8;

#define EXPORT __attribute__((visibility("default")))

/* Returns the result or -errno, as the kernel does: no errno variable that the runtime could clobber. */
EXPORT long vs_syscall(long nr, long a, long b, long c, long d, long e, long f) {
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  register long r9 __asm__("r9") = f;
  long result;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return result;
}

/* The fences keep earlier loads before and later loads after the reading. */
static inline u64 rdtsc_ordered(void) {
  u32 lo, hi;
  __asm__ volatile("lfence\n\trdtsc\n\tlfence" : "=a"(lo), "=d"(hi) : : "memory");
  return ((u64)hi << 32) | lo;
}

EXPORT void vs_rdtsc(u64 *out) { *out = rdtsc_ordered(); }

struct timespec64 {
  long sec, nsec;
};

/*
 * `rounds` times rdtsc, clock_gettime, rdtsc; keeps the narrowest. out = {tsc before, ns, tsc after}.
 * `gettime` is the vDSO's __vdso_clock_gettime, or 0 for the syscall. Returns 0 or -errno.
 */
EXPORT long vs_bracket(long (*gettime)(long, struct timespec64 *), long clock, long rounds,
                       u64 *out) {
  u64 best = ~0UL;
  for (long i = 0; i < rounds; i++) {
    struct timespec64 ts;
    u64 before = rdtsc_ordered();
    long error = gettime ? gettime(clock, &ts) : vs_syscall(228, clock, (long)&ts, 0, 0, 0, 0);
    u64 after = rdtsc_ordered();
    if (error) return error;
    if (after - before >= best) continue;
    best = after - before;
    out[0] = before;
    out[1] = (u64)ts.sec * 1000000000UL + (u64)ts.nsec;
    out[2] = after;
  }
  return 0;
}

/*
 * read() and write() with the TSC as close as can be: what was read had arrived before *tsc, and what
 * is written had not been sent before the stamp that goes out with it, at bytes[stamp_at].
 */
EXPORT long vs_read_stamped(long fd, u8 *bytes, long length, u64 *tsc) {
  long result = vs_syscall(0, fd, (long)bytes, length, 0, 0, 0);
  *tsc = rdtsc_ordered();
  return result;
}

/*
 * The same, trying again for up to `cycles` while there is nothing to read: what comes meanwhile need
 * not wake anybody. Who else wants this CPU gets it between two tries.
 */
EXPORT long vs_read_awaited(long fd, u8 *bytes, long length, u64 *tsc, long cycles) {
  u64 start = rdtsc_ordered();
  for (;;) {
    long result = vs_read_stamped(fd, bytes, length, tsc);
    if (result != -11 || *tsc - start >= (u64)cycles) return result;
    vs_syscall(24, 0, 0, 0, 0, 0, 0);
  }
}

EXPORT long vs_write_stamped(long fd, u8 *bytes, long length, long stamp_at) {
  u64 tsc = rdtsc_ordered();
  __builtin_memcpy(bytes + stamp_at, &tsc, 8);
  return vs_syscall(1, fd, (long)bytes, length, 0, 0, 0);
}

#define P1 0x9E3779B185EBCA87UL
#define P2 0xC2B2AE3D27D4EB4FUL
#define P3 0x165667B19E3779F9UL
#define P4 0x85EBCA77C2B2AE63UL
#define P5 0x27D4EB2F165667C5UL

static inline u64 rotl(u64 x, int r) { return (x << r) | (x >> (64 - r)); }
static inline u64 load64(const u8 *p) { u64 v; __builtin_memcpy(&v, p, 8); return v; }
static inline u32 load32(const u8 *p) { u32 v; __builtin_memcpy(&v, p, 4); return v; }
static inline u64 round64(u64 acc, u64 input) { return rotl(acc + input * P2, 31) * P1; }

/* Streaming XXH64, seed 0, so that a ring span in two pieces needs no copy. */
struct xxh64_state {
  u64 lane[4];
  u64 total;
  u8 tail[32];
};

EXPORT void vs_xxh64_init(struct xxh64_state *s) {
  s->lane[0] = P1 + P2;
  s->lane[1] = P2;
  s->lane[2] = 0;
  s->lane[3] = 0UL - P1;
  s->total = 0;
}

EXPORT void vs_xxh64_update(struct xxh64_state *s, const u8 *p, u64 length) {
  u64 held = s->total & 31;
  s->total += length;
  if (held) {
    while (length && held < 32) { s->tail[held++] = *p++; length--; }
    if (held < 32) return;
    for (int i = 0; i < 4; i++) s->lane[i] = round64(s->lane[i], load64(s->tail + 8 * i));
  }
  u64 a = s->lane[0], b = s->lane[1], c = s->lane[2], d = s->lane[3];
  for (; length >= 32; p += 32, length -= 32) {
    a = round64(a, load64(p));
    b = round64(b, load64(p + 8));
    c = round64(c, load64(p + 16));
    d = round64(d, load64(p + 24));
  }
  s->lane[0] = a, s->lane[1] = b, s->lane[2] = c, s->lane[3] = d;
  for (u64 i = 0; i < length; i++) s->tail[i] = p[i];
}

EXPORT void vs_xxh64_digest(const struct xxh64_state *s, u64 *out) {
  u64 h;
  if (s->total >= 32) {
    h = rotl(s->lane[0], 1) + rotl(s->lane[1], 7) + rotl(s->lane[2], 12) + rotl(s->lane[3], 18);
    for (int i = 0; i < 4; i++) h = (h ^ round64(0, s->lane[i])) * P1 + P4;
  } else {
    h = P5;
  }
  h += s->total;
  const u8 *p = s->tail;
  u64 left = s->total & 31;
  for (; left >= 8; p += 8, left -= 8) h = rotl(h ^ round64(0, load64(p)), 27) * P1 + P4;
  if (left >= 4) {
    h = rotl(h ^ (load32(p) * P1), 23) * P2 + P3;
    p += 4, left -= 4;
  }
  for (; left; p++, left--) h = rotl(h ^ (*p * P5), 11) * P1;
  h = (h ^ (h >> 33)) * P2;
  h = (h ^ (h >> 29)) * P3;
  *out = h ^ (h >> 32);
}
