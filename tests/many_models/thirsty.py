"""A learner after whose fit a process can write no file any more, as long as a flag is there: the disk is full."""

import os

from forecastml.learners.baseline import Average


class Thirsty(Average):
    name = "thirsty"

    def fit(self, train, params, context):
        import resource

        if os.path.exists(os.environ.get("MANY_MODELS_FULL", "")):
            resource.setrlimit(resource.RLIMIT_FSIZE, (500, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        return super().fit(train, params, context)
