"""The measured hosts: SSH, the agent's bundle, one session a host, and all of them together."""
