"""Drawing without a screen: which OpenGL MuJoCo takes."""

import os
import sys

__all__ = ["draw_offscreen"]


def draw_offscreen() -> None:
    """Lets MuJoCo draw with EGL on a Linux machine without a screen; MUJOCO_GL stays where the user has set it.

    MuJoCo reads the variable when it is imported, so call this before an environment is made.
    """
    if sys.platform == "linux" and not os.environ.get("DISPLAY"):
        os.environ.setdefault("MUJOCO_GL", "egl")
