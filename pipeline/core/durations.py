"""How a length of time is written for people."""


def spell_duration(seconds: float) -> str:
    """Write a length of time in its two largest units at most: '12 days', '1 h 05 min', '4 min' or '30 s'."""
    minutes = round(seconds / 60)
    if seconds < 60:
        return f"{seconds:.0f} s"
    if minutes >= 72 * 60:
        return f"{round(minutes / 60 / 24)} days"
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"
