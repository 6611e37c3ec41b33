"""Says which worker answered, so that a visitor can see that all of them answer alike."""

import os
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse


def name_the_worker(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        response["X-Worker"] = str(os.getpid())
        return response

    return middleware
