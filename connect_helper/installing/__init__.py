"""Making the helper known to the desktop: started at login, and called for links. Undone without a trace."""
