/* Timers of every kind, clocks, power management by /dev/cpu_dma_latency, the kernel's log. */
#include "poke.h"
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/timex.h>

static void on_alarm(int number)
{
	(void)number;
}

void poke_time(void)
{
	struct itimerval soon = { { 0, 2000 }, { 0, 1000 } }, never = { { 0, 0 }, { 0, 0 } };
	static const int clocks[] = { CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_REALTIME_ALARM,
				      CLOCK_BOOTTIME_ALARM };
	struct sigaction action = { .sa_handler = on_alarm };
	struct timex state = { .modes = 0 };
	volatile unsigned long spin = 0;

	sigaction(SIGVTALRM, &action, NULL);
	sigaction(SIGPROF, &action, NULL);
	setitimer(ITIMER_VIRTUAL, &soon, NULL);
	setitimer(ITIMER_PROF, &soon, NULL);
	for (int i = 0; i < 20000000; i++)
		spin += i;
	setitimer(ITIMER_VIRTUAL, &never, NULL);
	setitimer(ITIMER_PROF, &never, NULL);
	for (unsigned i = 0; i < sizeof(clocks) / sizeof(clocks[0]); i++) {
		int fd = timerfd_create(clocks[i], TFD_NONBLOCK);
		struct itimerspec in = { { 0, 0 }, { 0, 3000000 } }, off = { { 0, 0 }, { 0, 0 } };
		uint64_t ticks;
		struct timespec now;

		clock_gettime(clocks[i], &now);
		if (fd < 0)
			continue;
		timerfd_settime(fd, 0, &in, NULL);
		nap(5);
		TRY(read(fd, &ticks, 8));
		in.it_value.tv_sec = 100;
		timerfd_settime(fd, 0, &in, NULL);
		timerfd_settime(fd, 0, &off, NULL);
		close(fd);
	}
	adjtimex(&state);
	int latency = open("/dev/cpu_dma_latency", O_RDWR);
	int32_t microseconds = 1000;
	if (latency >= 0) {
		TRY(write(latency, &microseconds, 4));
		close(latency);
	}
	put("/dev/kmsg", "<7>vmspan: a line for printk:console\n");
	int registers = open("/dev/cpu/0/msr", O_RDONLY);
	uint64_t value;
	if (registers >= 0) {
		TRY(pread(registers, &value, 8, 0x10));
		close(registers);
	}
}
