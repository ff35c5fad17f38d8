/* Mappings, faults, huge pages, same-page merging, locking; and, apart, reclaim within a small memory cgroup. */
#include "poke.h"
#include <linux/userfaultfd.h>

#define MIB (1UL << 20)
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#define MADV_COLD 20
#endif

static char *map(size_t bytes, int flags)
{
	char *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
	return at == MAP_FAILED ? NULL : at;
}

static void poke_huge(void)
{
	char *area = map(8 * MIB, 0), *huge = map(2 * MIB, MAP_HUGETLB);

	if (area != NULL) {
		char *aligned = (char *)(((uintptr_t)area + 2 * MIB - 1) & ~(2 * MIB - 1));
		madvise(aligned, 4 * MIB, MADV_HUGEPAGE);
		memset(aligned, 1, 2 * MIB);
		for (size_t i = 2 * MIB; i < 4 * MIB; i += 4096 * 8)
			aligned[i] = 1;
		madvise(aligned, 4 * MIB, MADV_COLLAPSE);
		mprotect(aligned, 65536, PROT_READ);
		madvise(aligned + 65536, 4096, MADV_DONTNEED);
		pid_t child = fork();
		if (child == 0) {
			aligned[MIB] = 2;
			_exit(0);
		}
		waitpid(child, NULL, 0);
		munmap(area, 8 * MIB);
	}
	if (huge != NULL) {
		*huge = 1;
		munmap(huge, 2 * MIB);
	}
}

static void poke_merge(void)
{
	char *area = map(MIB, 0);
	if (area == NULL)
		return;
	madvise(area, MIB, MADV_MERGEABLE);
	memset(area, 7, MIB);
	put("/sys/kernel/mm/ksm/pages_to_scan", "2000");
	put("/sys/kernel/mm/ksm/sleep_millisecs", "5");
	put("/sys/kernel/mm/ksm/run", "1");
	nap(150);
	area[4096] = 3;
	madvise(area, MIB, MADV_UNMERGEABLE);
	put("/sys/kernel/mm/ksm/run", "2");
	put("/sys/kernel/mm/ksm/run", "0");
	put("/sys/kernel/mm/ksm/pages_to_scan", "100");
	put("/sys/kernel/mm/ksm/sleep_millisecs", "20");
	munmap(area, MIB);
}

/* Compaction of all memory takes seconds: a part of it is enough. */
static void compact(void)
{
	pid_t child = fork();
	if (child == 0) {
		put("/proc/sys/vm/compact_memory", "1");
		_exit(0);
	}
	nap(50);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}

void poke_memory(void)
{
	char *area = map(4 * MIB, MAP_POPULATE);
	unsigned char resident[1024];
	int memory = memfd_create("poke", 0);

	if (area != NULL) {
		mincore(area, 4 * MIB, resident);
		mlock(area, MIB);
		munlock(area, MIB);
		madvise(area, MIB, MADV_COLD);
		madvise(area + MIB, MIB, MADV_PAGEOUT);
		madvise(area, MIB, MADV_FREE);
		area = mremap(area, 4 * MIB, 6 * MIB, MREMAP_MAYMOVE);
		munmap(area, 6 * MIB);
	}
	TRY(ftruncate(memory, MIB));
	char *file = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
	if (file != MAP_FAILED) {
		memset(file, 1, MIB);
		msync(file, MIB, MS_SYNC);
	}
	poke_huge();
	poke_merge();
	compact();
	int faults = syscall(SYS_userfaultfd, O_CLOEXEC);
	if (faults >= 0)
		close(faults);
	TRY(syscall(SYS_mbind, 0, 0, 0, 0, 0, 0));
	TRY(syscall(SYS_migrate_pages, 0, 0, 0, 0));
	TRY(syscall(SYS_move_pages, 0, 0, 0, 0, 0, 0));
}

/* Uses more than its cgroup allows: pages go to swap, and the one that takes too much is killed. */
void poke_pressure(void)
{
	pid_t child;
	char *area = map(24 * MIB, 0);

	if (area != NULL)
		for (size_t round = 0; round < 2; round++)
			for (size_t i = 0; i < 24 * MIB; i += 4096)
				area[i] = (char)(i >> 12);
	child = fork();
	if (child == 0) {
		put("/proc/self/oom_score_adj", "1000");
		char *more = map(256 * MIB, 0);
		for (size_t i = 0; more != NULL && i < 256 * MIB; i += 4096)
			memset(more + i, (int)(i >> 12) * 37, 4096);
		_exit(0);
	}
	waitpid(child, NULL, 0);
}
