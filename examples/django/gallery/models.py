from django.db import models


class Picture(models.Model):
    title = models.CharField(max_length=100)
    image = models.ImageField(upload_to="pictures/%Y/%m", max_length=200)

    class Meta:
        ordering = ("-pk",)

    def __str__(self) -> str:
        return self.title
