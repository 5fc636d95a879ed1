#include "base/process.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdlib>
#include <filesystem>

#include "base/files.h"

extern char** environ;

namespace lorry {
namespace {

// What the child needs, made before the fork: after it only async-signal-safe calls are allowed.
struct Prepared {
  std::string program;
  std::vector<char*> argv;
  std::vector<std::string> environment;
  std::vector<char*> envp;
};

std::string FindProgram(const std::string& name) {
  if (name.find('/') != std::string::npos) return name;
  const char* path = std::getenv("PATH");
  std::string rest = path != nullptr ? path : "/usr/local/bin:/usr/bin:/bin";
  for (size_t begin = 0; begin <= rest.size();) {
    const size_t colon = std::min(rest.find(':', begin), rest.size());
    std::string candidate = rest.substr(begin, colon - begin) + "/" + name;
    if (::access(candidate.c_str(), X_OK) == 0) return candidate;
    begin = colon + 1;
  }
  return name;
}

Prepared Prepare(const SpawnOptions& options) {
  Prepared prepared;
  prepared.program = FindProgram(options.argv[0]);
  for (const std::string& argument : options.argv) prepared.argv.push_back(const_cast<char*>(argument.c_str()));
  prepared.argv.push_back(nullptr);
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    if (!options.env.contains(text.substr(0, text.find('=')))) prepared.environment.push_back(text);
  }
  for (const auto& [name, value] : options.env) prepared.environment.push_back(name + "=" + value);
  for (const std::string& entry : prepared.environment) prepared.envp.push_back(const_cast<char*>(entry.c_str()));
  prepared.envp.push_back(nullptr);
  return prepared;
}

// How far a child came that could not execute its program, and why: what it says through the pipe.
struct Failure {
  enum Step : int { kStdin, kStdout, kStderr, kFolder, kProgram } step = kStdin;
  int code = 0;  // errno
};

bool Redirect(const std::string& path, int flags, int target) {
  if (path.empty()) return true;
  const int fd = ::open(path.c_str(), flags, 0644);
  return fd >= 0 && ::dup2(fd, target) >= 0;
}

[[noreturn]] void RunChild(const SpawnOptions& options, const Prepared& prepared, pid_t parent, int report_fd) {
  if (options.own_group) ::setpgid(0, 0);
  if (options.die_with_parent) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(127);
  }
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::signal(SIGPIPE, SIG_DFL);
  Failure failure;
  const auto reach = [&](Failure::Step step, bool good_so_far) { return good_so_far ? failure.step = step, true : false; };
  bool good = Redirect(options.stdin_path, O_RDONLY, 0);
  good = reach(Failure::kStdout, good) && Redirect(options.stdout_path, O_WRONLY | O_CREAT | O_APPEND, 1);
  good = reach(Failure::kStderr, good) && Redirect(options.stderr_path, O_WRONLY | O_CREAT | O_APPEND, 2);
  good = reach(Failure::kFolder, good) && (options.cwd.empty() || ::chdir(options.cwd.c_str()) == 0);
  if (reach(Failure::kProgram, good)) ::execve(prepared.program.c_str(), prepared.argv.data(), prepared.envp.data());
  failure.code = errno;
  (void)!::write(report_fd, &failure, sizeof(failure));
  ::_exit(127);
}

// What the machine lacks may come back; what the program lacks will not.
bool IsOfMachine(int code) { return code == EAGAIN || code == ENOMEM || code == EMFILE || code == ENFILE; }

// The error that errno tells of, where it is no matter of a file that the machine has no process, descriptor or memory to spare.
Error CannotStart(std::string_view what, const std::string& name) {
  const int code = errno;
  Error error = ErrnoError(what, name);
  if (IsOfMachine(code)) {
    error.code = ErrorCode::kBudget;
    error.hint = "look at the limits of processes and open files (ulimit -a)";
  }
  return error;
}

Error ErrorOf(const Failure& failure, const SpawnOptions& options) {
  errno = failure.code;
  if (failure.step == Failure::kProgram) {
    Error error = CannotStart("cannot start", options.argv[0]);
    const bool of_program = error.code == ErrorCode::kStorage && failure.code != EIO;
    if (of_program) error.code = ErrorCode::kNotAllowed;
    return error;
  }
  const std::string* const paths[] = {&options.stdin_path, &options.stdout_path, &options.stderr_path, &options.cwd};
  Error error = CannotStart(failure.step == Failure::kFolder ? "cannot enter folder" : "cannot open", *paths[failure.step]);
  if (error.code != ErrorCode::kBudget) error.code = ErrorCode::kStorage;
  return error;
}

ProcessEnd ToEnd(int status) {
  if (WIFSIGNALED(status)) return {0, WTERMSIG(status)};
  return {WEXITSTATUS(status), 0};
}

}  // namespace

Result<ChildProcess> ChildProcess::Start(const SpawnOptions& options) {
  if (options.argv.empty()) return MakeError(ErrorCode::kUsage, "no program to start");
  const Prepared prepared = Prepare(options);
  int report[2];  // closed by a successful exec; else it carries errno
  if (::pipe2(report, O_CLOEXEC) != 0) return CannotStart("cannot start", options.argv[0]);
  const pid_t parent = ::getpid();
  // vfork: the child borrows our memory until it executes, and a worker that starts hundreds a second copies no page tables. The
  // child only makes system calls and writes nothing of ours but its own frames.
  const pid_t pid = ::vfork();
  if (pid == 0) RunChild(options, prepared, parent, report[1]);
  if (pid < 0) {
    const Error error = CannotStart("cannot start", options.argv[0]);
    ::close(report[0]);
    ::close(report[1]);
    return error;
  }
  ::close(report[1]);
  Failure failure;
  ssize_t got;
  while ((got = ::read(report[0], &failure, sizeof(failure))) < 0 && errno == EINTR) {
  }
  ::close(report[0]);
  if (got == static_cast<ssize_t>(sizeof(failure))) {
    ::waitpid(pid, nullptr, 0);
    return ErrorOf(failure, options);
  }
  return ChildProcess(pid, options.own_group);
}

ChildProcess::ChildProcess(ChildProcess&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)), own_group_(other.own_group_), end_(other.end_) {}

ChildProcess& ChildProcess::operator=(ChildProcess&& other) noexcept {
  std::swap(pid_, other.pid_);
  std::swap(own_group_, other.own_group_);
  std::swap(end_, other.end_);
  return *this;
}

ChildProcess::~ChildProcess() {
  if (pid_ < 0 || end_) return;
  Signal(SIGKILL);
  Wait();
}

std::optional<ProcessEnd> ChildProcess::Poll() {
  if (end_) return end_;
  int status = 0;
  if (::waitpid(pid_, &status, WNOHANG) == pid_) end_ = ToEnd(status);
  return end_;
}

std::optional<ProcessEnd> ChildProcess::Wait(std::optional<Millis> timeout) {
  if (end_) return end_;
  if (timeout) {
    const int fd = static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0));
    if (fd >= 0) {
      pollfd item{fd, POLLIN, 0};
      ::poll(&item, 1, static_cast<int>(std::min<int64_t>(timeout->count(), INT_MAX)));
      ::close(fd);
    }
    return Poll();
  }
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  end_ = ToEnd(status);
  return end_;
}

void ChildProcess::Signal(int signal) {
  if (pid_ > 0 && !end_) ::kill(own_group_ ? -pid_ : pid_, signal);
}

std::optional<uint64_t> ProcessStartTicks(pid_t pid) {
  const auto stat = ReadFile("/proc/" + std::to_string(pid) + "/stat", 4096);
  if (!stat.ok()) return std::nullopt;
  const size_t after_name = stat->rfind(')');  // the name may hold blanks and brackets
  if (after_name == std::string::npos) return std::nullopt;
  size_t at = after_name + 1;
  for (int field = 3; field < 22; ++field) at = stat->find(' ', at + 1);
  return at == std::string::npos ? std::nullopt : std::optional<uint64_t>(std::strtoull(stat->c_str() + at, nullptr, 10));
}

std::string ProgramDirectory() { return std::filesystem::read_symlink("/proc/self/exe").parent_path().string(); }

}  // namespace lorry
