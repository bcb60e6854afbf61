"""vhost-user-py: the vhost-user protocol, frontend and backend. Being written; nothing is public yet."""
