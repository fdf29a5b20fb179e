// Preloaded into processes that a test starts (`--import`): they end with the test, however it ends. What they
// start themselves is their own affair.
process.on('disconnect', () => process.kill(process.pid, 'SIGKILL'));
process.channel?.unref();
process.execArgv.splice(process.execArgv.indexOf('--import'), 2);
