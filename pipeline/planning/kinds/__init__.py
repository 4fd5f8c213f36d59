"""The kinds of jobs, one file for each: parameters, code version, the module that runs the job, and its cost.

Every file of this folder is imported here, so that importing one kind declares all of them. Nothing here
imports torch.
"""

import importlib
import pkgutil

for _file in pkgutil.iter_modules(__path__, f"{__name__}."):
    importlib.import_module(_file.name)
