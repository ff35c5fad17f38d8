/* System calls by number, processes, signals, scheduling, task names, FPU, vsyscall. */
#include "poke.h"
#include <sched.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/sem.h>
#include <sys/msg.h>
#include <sys/shm.h>
#include <sys/utsname.h>
#include <linux/futex.h>

#define SYSCALL_LAST 480

/* These have no argument to refuse, or must not be tried in vain. */
static int is_left_out(long number)
{
	return number == SYS_fork || number == SYS_vfork || number == SYS_vhangup || number == SYS_sync ||
	       number == SYS_pause || number == SYS_rt_sigreturn || number == SYS_exit || number == SYS_exit_group;
}

/*
 * Every system call once, with arguments that none accepts: descriptors, pointers, lengths and flags of -1. Each has a
 * process of its own, since some end it.
 */
void poke_syscalls(void)
{
	for (long number = 0; number < SYSCALL_LAST; number++) {
		pid_t child;
		int status;

		if (is_left_out(number))
			continue;
		child = fork();
		if (child == 0) {
			struct rlimit none = { 0, 0 };
			setrlimit(RLIMIT_CORE, &none);
			alarm(1);
			TRY(syscall(number, -1L, -1L, -1L, -1L, -1L, -1L));
			_exit(0);
		}
		waitpid(child, &status, 0);
	}
	TRY(syscall(SYS_sync));
	for (int i = 0; i < 4; i++) {
		pid_t child = i == 0 ? vfork() : (pid_t)syscall(SYS_fork);
		if (child == 0) {
			if (i == 1)
				syscall(SYS_exit, 3);
			if (i == 2)
				syscall(SYS_rt_sigreturn);
			if (i == 3) {
				alarm(1);
				syscall(SYS_pause);
			}
			_exit(0);
		}
		if (i == 3) {
			nap(5);
			kill(child, SIGTERM);
		}
		waitpid(child, NULL, 0);
	}
}

static void on_signal(int number)
{
	(void)number;
}

static void *in_thread(void *argument)
{
	prctl(PR_SET_NAME, (unsigned long)argument);
	for (int i = 0; i < 3; i++) {
		sched_yield();
		nap(1);
	}
	return NULL;
}

static void poke_signals(void)
{
	struct sigaction action = { .sa_handler = on_signal };
	union sigval value = { .sival_int = 42 };
	sigset_t set;

	sigaction(SIGUSR1, &action, NULL);
	sigaction(SIGRTMIN, &action, NULL);
	kill(getpid(), SIGUSR1);
	sigqueue(getpid(), SIGRTMIN, value);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	sigprocmask(SIG_BLOCK, &set, NULL);
	kill(getpid(), SIGUSR2);
	sigwaitinfo(&set, NULL);
	pid_t child = fork();
	if (child == 0) {
		struct rlimit none = { 0, 0 };
		setrlimit(RLIMIT_CORE, &none);
		*(volatile int *)8 = 1;
		_exit(0);
	}
	waitpid(child, NULL, 0);
}

static void poke_scheduling(void)
{
	struct sched_param param = { .sched_priority = 10 };
	struct {
		uint32_t size, policy;
		uint64_t flags;
		int32_t nice;
		uint32_t priority;
		uint64_t runtime, deadline, period;
	} deadline = { .size = 48, .policy = 6, .runtime = 1000000, .deadline = 10000000, .period = 10000000 };
	cpu_set_t cpus;
	pthread_t threads[4];
	static const char *names[] = { "poke-a", "poke %s\r", "<idle>", "\001tab\t" };

	for (int i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, in_thread, (void *)names[i]);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	setpriority(PRIO_PROCESS, 0, 5);
	for (int cpu = 0; cpu < 2; cpu++) {
		CPU_ZERO(&cpus);
		CPU_SET(cpu, &cpus);
		sched_setaffinity(0, sizeof(cpus), &cpus);
		sched_yield();
	}
	CPU_ZERO(&cpus);
	CPU_SET(0, &cpus);
	CPU_SET(1, &cpus);
	sched_setaffinity(0, sizeof(cpus), &cpus);
	sched_setscheduler(0, SCHED_RR, &param);
	nap(1);
	param.sched_priority = 0;
	sched_setscheduler(0, SCHED_BATCH, &param);
	sched_setscheduler(0, SCHED_OTHER, &param);
	TRY(syscall(SYS_sched_setattr, 0, &deadline, 0));
	nap(2);
	sched_setscheduler(0, SCHED_OTHER, &param);
	TRY(syscall(SYS_membarrier, 1, 0, 0));
	TRY(syscall(SYS_membarrier, 16, 0, 0));
	TRY(syscall(SYS_membarrier, 8, 0, 0));
}

static void poke_ipc(void)
{
	int pipes[2], epoll = epoll_create1(0), event = eventfd(0, EFD_NONBLOCK), watch = inotify_init1(0);
	struct epoll_event wanted = { .events = EPOLLIN };
	struct sembuf up = { 0, 1, 0 };
	struct {
		long type;
		char text[8];
	} message = { 1, "poke" };
	uint32_t word = 0;
	uint64_t one = 1;
	struct timespec soon = { 0, 1000000 };
	int semaphore = semget(IPC_PRIVATE, 1, 0600), queue = msgget(IPC_PRIVATE, 0600);
	int segment = shmget(IPC_PRIVATE, 8192, 0600);
	void *shared = shmat(segment, NULL, 0);

	TRY(pipe(pipes));
	epoll_ctl(epoll, EPOLL_CTL_ADD, pipes[0], &wanted);
	TRY(write(pipes[1], "x", 1));
	epoll_wait(epoll, &wanted, 1, 10);
	TRY(write(event, &one, 8));
	inotify_add_watch(watch, "/tmp", IN_CREATE);
	semop(semaphore, &up, 1);
	msgsnd(queue, &message, 8, 0);
	msgrcv(queue, &message, 8, 0, 0);
	if (shared != (void *)-1)
		*(char *)shared = 1;
	shmdt(shared);
	semctl(semaphore, 0, IPC_RMID);
	msgctl(queue, IPC_RMID, NULL);
	shmctl(segment, IPC_RMID, NULL);
	syscall(SYS_futex, &word, FUTEX_WAIT, 0, &soon, NULL, 0);
	syscall(SYS_futex, &word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

/* The address that programs of old called for the time; the kernel emulates it. */
static void poke_vsyscall(void)
{
	pid_t child = fork();
	if (child == 0) {
		long (*old_time)(long *) = (long (*)(long *))0xffffffffff600400UL;
		struct rlimit none = { 0, 0 };
		setrlimit(RLIMIT_CORE, &none);
		old_time(NULL);
		_exit(0);
	}
	waitpid(child, NULL, 0);
}

void poke_tasks(void)
{
	struct utsname name;
	volatile double sum = 0;

	poke_signals();
	poke_scheduling();
	poke_ipc();
	poke_vsyscall();
	uname(&name);
	for (int i = 1; i < 1000; i++)
		sum += 1.0 / i;
	for (int i = 0; i < 3; i++) {
		pid_t child = fork();
		if (child == 0) {
			execl("/bin/true", "true", (char *)NULL);
			_exit(0);
		}
		waitpid(child, NULL, 0);
	}
	pid_t missing = fork();
	if (missing == 0) {
		execl("/nonexistent/program", "x", (char *)NULL);
		_exit(0);
	}
	waitpid(missing, NULL, 0);
}
