"""What strangers may hand us: runs, traces and specifications that must not do more than be refused."""
