/* One file system's files: written, mapped, renamed, truncated, punched, locked, synced. */
#include "poke.h"
#include <dirent.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/sendfile.h>
#include <sys/statfs.h>
#include <sys/uio.h>
#include <sys/xattr.h>

#define BLOCK 4096
#define BLOCKS 64

static char block[BLOCK * 16];

static void write_file(int fd)
{
	struct iovec parts[2] = { { block, BLOCK }, { block, 100 } };

	memset(block, 0x5a, sizeof(block));
	for (int i = 0; i < BLOCKS; i += 16)
		TRY(pwrite(fd, block, sizeof(block), (off_t)i * BLOCK));
	/* Holes, and an unaligned end. */
	TRY(pwrite(fd, block, 777, (off_t)BLOCKS * 4 * BLOCK + 5));
	TRY(pwritev(fd, parts, 2, (off_t)BLOCKS * 8 * BLOCK));
	sync_file_range(fd, 0, BLOCK * 8, SYNC_FILE_RANGE_WRITE);
	fdatasync(fd);
}

static void change_extents(int fd)
{
	fallocate(fd, 0, (off_t)BLOCKS * 16 * BLOCK, BLOCKS * BLOCK);
	fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, BLOCK * 4, BLOCK * 3);
	fallocate(fd, FALLOC_FL_ZERO_RANGE, BLOCK * 20, BLOCK * 3);
	fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, BLOCK * 32, BLOCK * 4);
	fallocate(fd, FALLOC_FL_INSERT_RANGE, BLOCK * 32, BLOCK * 4);
	fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t)BLOCKS * 40 * BLOCK, BLOCK * 8);
	TRY(pwrite(fd, block, BLOCK, (off_t)BLOCKS * 17 * BLOCK));
	lseek(fd, 0, SEEK_HOLE);
	lseek(fd, 0, SEEK_DATA);
	TRY(ftruncate(fd, BLOCK * 10 + 3));
	fsync(fd);
}

static void read_file(const char *path)
{
	int fd = open(path, O_RDONLY), copy = open("copy", O_RDWR | O_CREAT | O_TRUNC, 0600);
	int direct = open(path, O_RDWR | O_DIRECT);
	void *aligned = NULL;
	off_t offset = 0;
	struct file_clone_range range = { .src_fd = fd };

	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	readahead(fd, 0, BLOCK * 8);
	char *mapped = mmap(NULL, BLOCK * 8, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	if (mapped != MAP_FAILED) {
		for (int i = 0; i < 8; i++)
			mapped[i * BLOCK]++;
		munmap(mapped, BLOCK * 8);
	}
	TRY(sendfile(copy, fd, &offset, BLOCK * 6));
	TRY(copy_file_range(fd, NULL, copy, NULL, BLOCK * 2, 0));
	ioctl(copy, FICLONERANGE, &range);
	if (direct >= 0 && posix_memalign(&aligned, BLOCK, BLOCK) == 0) {
		memset(aligned, 1, BLOCK);
		TRY(pread(direct, aligned, BLOCK, 0));
		TRY(pwrite(direct, aligned, BLOCK, BLOCK));
		free(aligned);
	}
	close(direct);
	close(copy);
	close(fd);
}

static void write_mapped(void)
{
	int fd = open("mapped", O_RDWR | O_CREAT, 0600);
	TRY(ftruncate(fd, BLOCK * 16));
	char *mapped = mmap(NULL, BLOCK * 16, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (mapped != MAP_FAILED) {
		for (int i = 0; i < 16; i += 3)
			mapped[i * BLOCK] = 1;
		msync(mapped, BLOCK * 16, MS_SYNC);
		munmap(mapped, BLOCK * 16);
	}
	close(fd);
}

static void change_names(void)
{
	struct statfs state;
	struct stat info;
	char name[32];

	mkdir("folder", 0700);
	for (int i = 0; i < 60; i++) {
		snprintf(name, sizeof(name), "folder/entry-%d-%08x", i, i * 2654435761u);
		close(open(name, O_CREAT | O_WRONLY, 0600));
	}
	TRY(link("file", "folder/link"));
	TRY(symlink("/no/where/at/all", "symbolic"));
	TRY(readlink("symbolic", name, sizeof(name)));
	rename("folder/link", "renamed");
	TRY(syscall(SYS_renameat2, AT_FDCWD, "renamed", AT_FDCWD, "symbolic", RENAME_EXCHANGE));
	mknod("fifo", S_IFIFO | 0600, 0);
	chmod("file", 0640);
	TRY(chown("file", 1, 1));
	setxattr("file", "user.poke", block, 200, 0);
	setxattr("file", "user.large", block, 3000, 0);
	getxattr("file", "user.poke", block, sizeof(block));
	listxattr("file", block, sizeof(block));
	removexattr("file", "user.poke");
	statfs(".", &state);
	stat("file", &info);
	DIR *folder = opendir("folder");
	struct dirent *entry;
	while (folder != NULL && (entry = readdir(folder)) != NULL) {
		snprintf(name, sizeof(name), "folder/%.20s", entry->d_name);
		if (entry->d_name[0] == 'e' && (entry->d_name[6] & 1) != 0)
			unlink(name);
	}
	if (folder != NULL)
		closedir(folder);
	/* Deleted while it is open: an orphan. */
	int orphan = open("orphan", O_RDWR | O_CREAT, 0600);
	TRY(write(orphan, block, BLOCK * 4));
	unlink("orphan");
	close(orphan);
	close(open(".", O_TMPFILE | O_RDWR, 0600));
}

void poke_files(const char *directory)
{
	int flags, fd;
	struct fstrim_range range = { .start = 0, .len = UINT64_MAX };

	if (chdir(directory) != 0)
		return;
	fd = open("file", O_RDWR | O_CREAT, 0600);
	write_file(fd);
	change_extents(fd);
	read_file("file");
	write_mapped();
	change_names();
	if (ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0)
		ioctl(fd, FS_IOC_SETFLAGS, &flags);
	syncfs(fd);
	/* Only a file system of our own, whose root this is. */
	struct stat here, above;
	if (stat(".", &here) == 0 && stat("..", &above) == 0 && here.st_dev != above.st_dev) {
		int folder = open(".", O_RDONLY);
		ioctl(folder, FITRIM, &range);
		ioctl(folder, FIFREEZE, 0);
		ioctl(folder, FITHAW, 0);
		close(folder);
	}
	close(fd);
	unlink("copy");
	syncfs(open(".", O_RDONLY));
}

/* Locks of each kind; a child waits for one, and a lease is broken. */
void poke_locks(const char *directory)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 100 };
	struct flock unlock = { .l_type = F_UNLCK, .l_whence = SEEK_SET };
	int fd;

	if (chdir(directory) != 0)
		return;
	fd = open("locked", O_RDWR | O_CREAT, 0600);
	fcntl(fd, F_SETLK, &lock);
	pid_t child = fork();
	if (child == 0) {
		int own = open("locked", O_RDWR);
		alarm(1);
		fcntl(own, F_SETLKW, &lock);
		fcntl(own, F_SETLK, &unlock);
		_exit(0);
	}
	nap(20);
	fcntl(fd, F_GETLK, &lock);
	fcntl(fd, F_SETLK, &unlock);
	waitpid(child, NULL, 0);
	flock(fd, LOCK_EX);
	flock(fd, LOCK_UN);
	lock.l_pid = 0;
	fcntl(fd, F_OFD_SETLK, &lock);
	close(fd);
	signal(SIGIO, SIG_IGN);
	fd = open("locked", O_RDONLY);
	fcntl(fd, F_SETLEASE, F_RDLCK);
	child = fork();
	if (child == 0) {
		alarm(1);
		close(open("locked", O_WRONLY | O_NONBLOCK));
		_exit(0);
	}
	waitpid(child, NULL, 0);
	fcntl(fd, F_SETLEASE, F_UNLCK);
	close(fd);
}
