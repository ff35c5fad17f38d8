/* What the parts of the workload share: each pokes one area of the kernel, so that its tracepoints fire. */
#ifndef POKE_H
#define POKE_H
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Results do not matter: what a kernel lacks fires nothing. */
#define TRY(call) ((void)!(long)(call))

void poke_syscalls(void);
void poke_tasks(void);
void poke_time(void);
void poke_memory(void);
void poke_pressure(void);
void poke_net(void);
void poke_netlink(void);
void poke_bpf(void);
void poke_uring(void);
void poke_kvm(void);
void poke_files(const char *directory);
void poke_locks(const char *directory);

static inline void nap(long milliseconds)
{
	struct timespec time = { milliseconds / 1000, milliseconds % 1000 * 1000000 };
	nanosleep(&time, NULL);
}

/* Writes text into a file of the kernel; what is not there is left alone. */
static inline void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	TRY(write(fd, text, strlen(text)));
	close(fd);
}
#endif
