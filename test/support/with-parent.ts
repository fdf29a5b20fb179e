// Preloaded into processes that a test starts (`--import`): they end with the test, however it ends.
process.on('disconnect', () => process.kill(process.pid, 'SIGKILL'));
process.channel?.unref();
